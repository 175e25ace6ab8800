#!/usr/bin/env bash
# A SLURM of two virtual nodes on this machine's loopback, for tests and for trying things out: no systemd, its own keys, ports and
# settings, so that a SLURM which is already here is not touched. Needs Debian's slurm-wlm and munge (`make slurm`).
#
#   eval "$(slurm/test_cluster.sh up)"     starts it, or finds it running; sets SLURM_CONF for sbatch, squeue and the others
#   slurm/test_cluster.sh down             ends it and removes what it left
#
# A second word names the folder that holds it. Nodes n1, n2 of 4 made-up processors and 2 made-up GPUs each; partition `main`, and `high`, which preempts it.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
folder=$(realpath -m "${2:-${TMPDIR:-/tmp}/slurm-test-cluster-$(id -un)}")
export SLURM_CONF=$folder/slurm.conf

is_up() { [ -s "$SLURM_CONF" ] && timeout 5 scontrol ping 2>/dev/null | grep -q "is UP"; }

# A pid file is ours, but its number may have passed on to another process: it is ours too only if our folder is in its environment.
ours() { [ -s "$1" ] && tr '\0' ' ' 2>/dev/null <"/proc/$(cat "$1")/environ" | grep -qF "$folder"; }

# Asks all to end, waits at most five seconds, then ends them.
end() {
    local signal
    for signal in TERM KILL; do
        for file in "$@"; do ours "$file" && kill -$signal "$(cat "$file")" 2>/dev/null || true; done
        for _ in $(seq 100); do
            for file in "$@"; do ours "$file" && sleep 0.05 && continue 2; done
            return 0
        done
    done
}

# Three ports in a row in which nothing listens, sought from a random place: another cluster may be coming up.
free_ports() {
    local base
    while true; do
        base=$((16800 + RANDOM % 1000 * 10))
        for port in "$base" $((base + 1)) $((base + 2)); do
            (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
        done
        echo "$base" && return
    done
}

up() {
    for program in munged slurmctld slurmd; do
        command -v $program >/dev/null || { echo "error: no $program here: make slurm (Debian: apt-get install slurm-wlm munge)" >&2; exit 1; }
    done
    is_up && return
    down
    local base user
    base=$(free_ports) user=$(id -un)
    mkdir -p "$folder"/{state,log,run,spool/n1,spool/n2}
    chmod 755 "$folder" "$folder/run"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    ln -s /dev/null "$folder/gpu0" && ln -s /dev/zero "$folder/gpu1"    # SLURM wants devices; it hands out their numbers, and nothing opens them
    echo "Name=gpu File=$folder/gpu[0-1]" >"$folder/gres.conf"
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$base
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.sock,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=10
OverTimeLimit=0
SlurmdTimeout=6
SlurmctldTimeout=10
SlurmdParameters=config_overrides
DefMemPerCPU=500
GresTypes=gpu
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + 2))] CPUs=4 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefaultTime=10 PriorityTier=1
PartitionName=high Nodes=ALL MaxTime=60 DefaultTime=10 PriorityTier=10 PreemptMode=OFF
CONF
    munged --force --key-file="$folder/munge.key" --socket="$folder/run/munge.sock" --pid-file="$folder/run/munged.pid" \
        --log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed" --num-threads=2 2>"$folder/log/munged.err"
    slurmctld -i >"$folder/log/slurmctld.out" 2>&1
    for node in n1 n2; do slurmd -N $node >"$folder/log/slurmd.$node.out" 2>&1; done
    for _ in $(seq 200); do
        [ "$(sinfo -h -N -r -p main -t idle -o %N 2>/dev/null | wc -l)" = 2 ] && return
        sleep 0.1
    done
    echo "error: no SLURM after 20 seconds; its logs:" >&2
    tail -n 5 "$folder"/log/* >&2
    exit 1
}

down() {
    [ -d "$folder" ] || return 0
    if is_up; then
        scancel --user="$(id -un)" 2>/dev/null || true
        for _ in $(seq 100); do [ -z "$(squeue -h 2>/dev/null)" ] && break; sleep 0.1; done
    fi
    end "$folder"/run/slurmd.*.pid "$folder/run/slurmctld.pid"
    end "$folder/run/munged.pid"
    rm -rf "$folder"
}

case ${1:-} in
    up) up && echo "export SLURM_CONF=$SLURM_CONF" ;;
    down) down ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
