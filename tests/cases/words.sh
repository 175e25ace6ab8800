# The words of bad_input.tsv. Set before: PYTHON, the interpreter; CASES, this folder; WARM, the socket of warm.py.

real() { "$PYTHON" "$@"; }
python() {
    if [ "$WARM" != 0 ] && [ "$1" = -m ] && [[ $2 == pipeline.* || $2 == slurm.* ]]; then
        "$PYTHON" -IS "$CASES/client.py" "$WARM" "${@:2}"
    else
        real "$@"
    fi
}

T() { python -m pipeline.train data=text scale=smoke tracking.uri=null "$@"; }
G() { python -m pipeline.train data=mackey_glass scale=smoke tracking.uri=null "$@"; }
F() { python -m pipeline.fetch data=text "$@"; }
P() { python -m pipeline.prepare data=text "$@"; }
E() { python -m pipeline.evaluate study=tiny scale=smoke "$@"; }
S() { python -m pipeline.sample length=20 "$@"; }
FP() { F "$@" && P "$@" && T "$@"; }

cut() { truncate -s "$(($(stat -c %s "$1") / 2))" "$1"; }
zero() { local size; size=$(stat -c %s "$1") && head -c "$size" /dev/zero >"$1"; }
noise() { "$PYTHON" -ISc 'import os, random, sys; open(sys.argv[1], "r+b").write(random.Random(0).randbytes(os.path.getsize(sys.argv[1])))' "$1"; }
