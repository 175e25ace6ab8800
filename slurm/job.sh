# What a job does around its srun; train.sbatch and the scripts of queue.py source it.

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# A command of SLURM, asked again where it fails: its controller may be away for a moment.
answered() {
    local try
    for try in 1 2 3; do
        if [ "$try" -gt 1 ]; then sleep 5; fi
        "$@" && return 0      # in a trap, `return` alone is what was before it
    done
    return 1
}

# Where the ranks meet: the first node, by the address that SLURM itself uses, or by its name where SLURM does not say that.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(answered scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
MASTER_ADDR=${MASTER_ADDR:-$first}
JOB_KILLS=${JOB_LOGS:-$PWD}/$SLURM_JOB_ID.kills     # a line for each time that the job was killed; the run removes it when it has saved
JOB_RUN=$(mktemp)                                   # where the first rank names its run
export MASTER_ADDR JOB_KILLS JOB_RUN

echo "== job $SLURM_JOB_ID, attempt $((${SLURM_RESTART_COUNT:-0} + 1)), on $SLURM_JOB_NODELIST, $(date '+%F %T')"

# Whether a rank of this attempt has ended with an error of its own: then srun has ended the others.
failed() {
    awk '/^== job / { found = 0 } /^srun: error: .*: Exited with exit code [0-9][0-9]?$/ { found = 1 } END { exit !found }' \
        "$(readlink /proc/$$/fd/1)" 2>/dev/null
}

# A run that was killed by anything but SLURM (out of memory, by hand, a crash or a time-out in a library, SIGUSR1 or SIGTERM before it had begun:
# SLURM may repeat its order to end a step, which then is the one of the next attempt, by the same number) goes on
# from its last checkpoint, $RESTARTS times in a row at most without a new one. SLURM itself puts a job back whose node failed or that was
# preempted, and a run that has saved before its time limit does: neither counts. Errors and cancelled jobs stay where they are.
goes_on() {
    local code=$1 state times often
    case $code in
        134 | 135 | 137 | 138 | 139) ;;
        143) ! failed || return ;;
        *) return ;;
    esac
    if ! state=$(answered scontrol show job "$SLURM_JOB_ID"); then
        echo "killed (exit code $code), and SLURM does not say whether it was its own doing: submit it again"
        return
    fi
    grep -q JobState=RUNNING <<<"$state" || return
    echo "$(date '+%F %T') exit code $code" >>"$JOB_KILLS"
    times=$(wc -l <"$JOB_KILLS")
    often="once"
    if [ "$times" -gt 1 ]; then often="$times times in a row"; fi
    if [ "$times" -gt "${RESTARTS:-3}" ]; then
        echo "killed (exit code $code), $often without a new checkpoint: this job gives up; mended, submit it again"
        if [ -s "$JOB_RUN" ]; then "${PYTHON:-python}" -m slurm.give_up "$(cat "$JOB_RUN")"; fi
    else
        echo "killed (exit code $code), $often without a new checkpoint: back into the queue"
        answered scontrol requeue "$SLURM_JOB_ID" || echo "SLURM does not take it back: submit it again"
    fi
}
trap 'goes_on $?; rm -f "$JOB_RUN"' EXIT
