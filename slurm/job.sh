# What a job does around its srun; train.sbatch and the launcher's arrays source it.

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# Where the ranks meet: the first node, by the address that SLURM itself uses.
MASTER_ADDR=$(scontrol show node "$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
export MASTER_ADDR

# A run that was killed by anything but SLURM (out of memory, by hand, a crash in a library, SIGUSR1 before Python could take it) goes on from
# its last checkpoint. SLURM itself puts a job back whose node failed or that was preempted; errors and cancelled jobs stay where they are.
goes_on() {
    case $1 in 134 | 135 | 137 | 138 | 139) ;; *) return ;; esac
    [ "${SLURM_RESTART_COUNT:-0}" -lt "${RESTARTS:-10}" ] || return
    if scontrol show job "$SLURM_JOB_ID" | grep -q JobState=RUNNING; then
        echo "killed (exit code $1): back into the queue"
        scontrol requeue "$SLURM_JOB_ID"
    fi
}
trap 'goes_on $?' EXIT
