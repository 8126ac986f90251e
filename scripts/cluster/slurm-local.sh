#!/usr/bin/env bash
# Usage: scripts/cluster/slurm-local.sh up [PID] | run COMMAND… | status | down
#
# A real Slurm of four nodes, n1 to n4 with two processors each, all on this machine: to try out job
# scripts without a cluster. Needs root.
#   up       installs Slurm where it is missing (Debian and its kin) and starts it; with the number of
#            a process, it goes down by itself when that has ended. Waits for another one to go down
#   run      runs a command, such as sbatch or a script that calls it, against this Slurm
#   status   nodes and jobs
#   down     ends every daemon and every job, and removes the folder
#
# All that it keeps lies in MPISWARM_SLURM_FOLDER, by default slurm-local in the build folder. It has
# its own ports, its own munge and its own namespaces: a Slurm that this machine belongs to is not
# touched, and nothing outlives `down`. Each node has a hostname and a /dev/shm of its own; the
# network and the processors are the machine's: this shows whether scripts work, never how fast.
#
# Exit code: 0 done, 1 it failed, 2 wrong call, 3 can't be had on this machine.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib.sh"

nodes=(n1 n2 n3 n4)
folder=$(readlink -m "${MPISWARM_SLURM_FOLDER:-$(target_folder)/slurm-local}")
# Clients of Slurm find it by this file.
export SLURM_CONF=$folder/slurm.conf

# refuse WHY: this machine can't have it.
refuse() {
    say "$*" >&2
    exit 3
}

# The process in whose namespaces all daemons live: with its end they all end. Checked by its
# arguments, because its number may be another's by now.
supervisor() {
    local pid
    read -r pid 2>/dev/null <"$folder/supervisor.pid" || return
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "inside $folder" && printf '%s\n' "$pid"
}

require() {
    local program missing=()
    ((EUID == 0)) || refuse "not root: starting Slurm needs it"
    unshare --pid --fork --mount --mount-proc --uts true 2>/dev/null ||
        refuse "this root may not make namespaces (a container needs --privileged)"
    for program in slurmctld slurmd sbatch munged; do have "$program" || missing+=("$program"); done
    ((${#missing[@]})) || return 0
    can_install || refuse "missing: ${missing[*]}; on Debian: apt-get install slurm-wlm munge"
    apt_update
    apt_install slurm-wlm munge || refuse "slurm-wlm and munge can't be installed"
}

# Five ports in a row that nobody listens on: the controller's, then the nodes'.
free_ports() {
    local base port
    for ((base = 17000; base < 18000; base += 10)); do
        for ((port = base; port <= base + ${#nodes[@]}; port++)); do
            ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue 2
        done
        printf '%s\n' "$base"
        return
    done
    return 1
}

configure() {
    local base=$1 host
    host=$(hostname)
    cat >"$SLURM_CONF" <<END
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
ReturnToService=2
KillWait=2
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
# The nodes have as many processors as is said here, whatever the machine has.
SlurmdParameters=config_overrides
SlurmctldPidFile=$folder/slurmctld.pid
SlurmctldLogFile=$folder/log/slurmctld.log
StateSaveLocation=$folder/state
SlurmdPidFile=$folder/%n/slurmd.pid
SlurmdLogFile=$folder/log/slurmd-%n.log
SlurmdSpoolDir=$folder/%n/spool
# Where PMIx keeps its sockets.
TmpFS=$folder/%n/tmp
NodeName=n[1-${#nodes[@]}] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + ${#nodes[@]}))] CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=30:00 State=UP OverSubscribe=NO
END
}

up() {
    local owner=$1 base node pid
    require
    ! pid=$(supervisor) || die "already up, as process $pid, in $folder: use down first"
    # Only a folder that is new, or was made here, is ever removed.
    [[ ! -e $folder || -e $SLURM_CONF || -z $(ls -A "$folder") ]] || die "$folder holds other files: name an empty folder"
    rm -rf "$folder"
    mkdir -p "$folder"/{log,state,munge}
    for node in "${nodes[@]}"; do mkdir -p "$folder/$node"/{spool,tmp}; done
    # One at a time on a machine: a second one would have nodes, jobs and processes of the same names and
    # numbers, by which Open MPI names its files in /tmp, and jobs of the two would disturb each other. The
    # daemons keep the lock until the last of them has ended.
    exec 9>"${TMPDIR:-/tmp}/mpiswarm-slurm-local.lock"
    flock --wait 600 9 || refuse "another slurm-local is up: end it with its down first"
    base=$(free_ports) || refuse "all ports from 17000 to 18000 are taken"
    configure "$base"
    # Hydra connects back by the name of the node.
    { cat /etc/hosts && printf '127.0.0.1 %s\n' "${nodes[*]}"; } >"$folder/hosts"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
    setsid unshare --pid --fork --kill-child --mount --mount-proc \
        "$BASH" "$(readlink -f "$0")" inside "$folder" </dev/null >"$folder/log/daemons.log" 2>&1 &
    printf '%s\n' "$!" >"$folder/supervisor.pid"
    if [[ -n $owner ]]; then
        setsid "$BASH" "$(readlink -f "$0")" watch "$owner" </dev/null >/dev/null 2>&1 9>&- &
    fi
    await_nodes || {
        say "Slurm does not start; the end of its logs:" >&2
        tail -n 5 "$folder"/log/* >&2
        stop
        exit 1
    }
    exec 9>&-
    say "up: ${nodes[*]}; try: $0 run sinfo"
}

# Until every node may take a job.
await_nodes() {
    local try
    for ((try = 0; try < 150; try++)); do
        [[ $(sinfo --noheader --Node --states=idle --format=%N 2>/dev/null | wc -l) -ne ${#nodes[@]} ]] || return 0
        supervisor >/dev/null || return 1
        sleep 0.2
    done
    return 1
}

# What runs as the first process of the namespaces. When one daemon ends, all do.
inside() {
    local node
    # Folders above may be open to more than munge likes: nothing but a test depends on this key.
    munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" &
    until [[ -S $folder/munge.socket ]]; do sleep 0.05; done
    slurmctld -D -i -f "$SLURM_CONF" &
    for node in "${nodes[@]}"; do
        # Ranks of two nodes must not meet in one shared memory.
        unshare --mount --uts --ipc "$BASH" "$0" node "$folder" "$node" &
    done
    wait -n || true
    say "a daemon has ended"
}

stop() {
    local pid
    if pid=$(supervisor); then
        # Its child is the first process of the namespace, which is gone when all others are.
        pkill -KILL -P "$pid"
        while [[ -e /proc/$pid ]]; do sleep 0.05; done
    fi
    rm -rf "$folder"
}

case ${1-} in
    -h | --help) usage ;;
    up) up "${2-}" ;;
    down)
        [[ -e $SLURM_CONF ]] || { say "not up" && exit; }
        stop
        say "down"
        ;;
    run | status)
        supervisor >/dev/null || die "not up: start it with $0 up"
        shift
        if (($#)); then exec "$@"; fi
        sinfo --Node --long
        squeue
        ;;
    watch)
        while [[ -e /proc/$2 ]] && supervisor >/dev/null; do sleep 1; done
        [[ -e /proc/$2 ]] || stop
        ;;
    inside)
        folder=$2 SLURM_CONF=$2/slurm.conf
        inside
        ;;
    node)
        hostname "$3"
        mount -t tmpfs tmpfs /dev/shm
        mount --bind "$2/hosts" /etc/hosts
        SLURM_CONF=$2/slurm.conf exec slurmd -D -N "$3"
        ;;
    *) die "use one of: up, run, status, down; see --help" ;;
esac
