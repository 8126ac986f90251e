#!/usr/bin/env bash
# Usage: scripts/lab.sh up N [--rate 200mbit] [--slow HOST:RATE]… [--delay 2ms]
#        scripts/lab.sh run [--ranks-per-host K] -- COMMAND…
#        scripts/lab.sh on HOST COMMAND… | rate FROM TO [SECONDS] | cut HOST | heal HOST | status | down
#
# A cluster of N hosts, h1 to hN, on this machine: network namespaces on a bridge, each with its own
# address, hostname, /dev/shm and temporary folder, and a link of its own. Needs root.
#   up      brings the hosts up. --rate is what each link carries, each way; --slow gives one host
#           another; --delay is what each host waits before it sends (the kernel needs netem). Rates and
#           times as `tc` writes them; without --rate the processors are the limit
#   run     starts COMMAND as ranks over TCP alone, h1 as the host where mpirun is called. Ranks 0 and 1,
#           the tracker and the first peer, share h1 and every other host has one rank: N peers. With
#           --ranks-per-host each host has K, in the order of the hosts
#   on      runs a command on one host, without MPI
#   rate    measures what payload a TCP connection carries: bytes a second, and as text
#   cut     takes a host's cable out of the bridge; heal plugs it in again
#   status  hosts, rates, cables, and how many processes each has
#   down    ends all that runs there, and leaves nothing
#
# Another MPI than the first on PATH: scripts/mpi.sh FLAVOUR scripts/lab.sh run …
# Files are this machine's, as on a shared file system; TMPDIR is a host's own and lies in memory.
#
# All of it, the bridge too, lives in namespaces that `up` makes: no interface, address or rule of this
# machine is seen from there, much less touched. Its state is in MPISWARM_LAB_FOLDER, by default
# /run/mpiswarm-lab; another folder is another laboratory beside it. With `run`, or with the machine's
# last process of a laboratory, all processes that it started end, even when they are killed.
#
# Exit code: that of the command; else 0 done, 1 it failed, 2 wrong call, 3 can't be had on this machine.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/mpi.sh"

self=$(readlink -f "$0")
folder=$(readlink -m "${MPISWARM_LAB_FOLDER:-/run/mpiswarm-lab}")
export MPISWARM_LAB_FOLDER=$folder
# Bytes that a link may send at once: the largest packet that a kernel hands to a link whole.
burst=64kb
# How long a packet may wait for its link.
patience=50ms

# refuse WHY: this machine can't have it.
refuse() {
    say "$*" >&2
    exit 3
}

# The process with whose end all of the laboratory ends. Checked by its arguments, because its number
# may be another's by now.
supervisor() {
    local pid
    read -r pid 2>/dev/null <"$folder/supervisor.pid" || return
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "inside $folder " && printf '%s\n' "$pid"
}

# The first process within: its namespaces are the bridge's.
init() {
    local pid
    pid=$(supervisor) || die "not up: start it with $0 up N"
    pgrep -P "$pid" || die "the laboratory has just ended: use up again"
}

# Runs a command beside the bridge.
beside_bridge() { nsenter --target "$(init)" --net --mount --pid -- "$@"; }

hosts() { find "$folder/hosts" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V; }

is_host() { [[ $1 =~ ^h[1-9][0-9]*$ && -d $folder/hosts/$1 ]]; }

require_host() { is_host "$1" || die "no host $1: use one of $(hosts | paste -sd ' ')"; }

require() {
    local program missing=()
    ((EUID == 0)) || refuse "not root: network namespaces need it"
    for program in ip tc nsenter unshare setpriv pgrep; do have "$program" || missing+=("$program"); done
    if ((${#missing[@]})); then
        can_install || refuse "missing: ${missing[*]}; on Debian: apt-get install iproute2 procps util-linux"
        apt_update
        apt_install iproute2 procps || refuse "iproute2 and procps can't be installed"
    fi
    unshare --pid --fork --mount --mount-proc --net --uts --ipc true 2>/dev/null ||
        refuse "this root may not make namespaces (a container needs --privileged)"
    unshare --net ip link add name switch type bridge 2>/dev/null || refuse "this kernel has no bridges"
    unshare --net ip link add name one type veth peer name two 2>/dev/null || refuse "this kernel has no veth pairs"
}

# require_discipline WHAT FOR: that the kernel can queue packets like that.
require_discipline() {
    local name=$1 purpose=$2
    shift 2
    unshare --net tc qdisc add dev lo root "$name" "$@" 2>/dev/null ||
        refuse "$purpose needs the kernel's $name (sch_$name), which is missing here"
}

# is_rate TEXT, is_delay TEXT: as tc writes them, and more than nothing.
is_rate() { [[ $1 =~ ^[0-9]*[1-9][0-9]*(\.[0-9]+)?([kmgt]?bit|[kmgt]?bps)$ ]]; }
is_delay() { [[ $1 =~ ^[0-9]+(\.[0-9]+)?(us|ms|s)$ ]]; }

up() {
    local count=${1-} rate='' delay='' slow=() pid
    [[ $count =~ ^[1-9][0-9]{0,2}$ && $count -le 250 ]] || die "up \"$count\": use a number of hosts from 1 to 250"
    shift
    while (($#)); do
        case $1 in
            --rate) rate=${2-} && { is_rate "$rate" || die "--rate: \"$rate\" is no rate: use one such as 200mbit"; } ;;
            --delay) delay=${2-} && { is_delay "$delay" || die "--delay: \"$delay\" is no time: use one such as 2ms"; } ;;
            --slow) slow+=("${2-}") && check_slow "$count" "${2-}" ;;
            *) die "up: unknown argument $1; see --help" ;;
        esac
        shift 2
    done
    require
    [[ -z $delay ]] || require_discipline netem --delay delay "$delay"
    [[ -z $rate && ${#slow[@]} -eq 0 ]] ||
        require_discipline tbf "a rate" rate 1mbit burst "$burst" latency "$patience"
    ! pid=$(supervisor) || die "already up, as process $pid, in $folder: use down first"
    # Only a folder that is new, or was made here, is ever removed.
    [[ ! -e $folder || -e $folder/laboratory || -z $(ls -A "$folder") ]] || die "$folder holds other files: name an empty folder"
    rm -rf "$folder"
    mkdir -p "$folder"/{hosts,tmp,bin,proc}
    : >"$folder/laboratory"
    printf 'h1 to h%s%s\n' "$count" "${rate:+ at $rate}${delay:+, delay $delay}${slow:+, ${slow[*]}}" >"$folder/links"
    trap 'stop; exit 1' INT TERM HUP
    start "$count" "$rate" "$delay" "${slow[@]}"
    await_hosts "$count" || {
        say "Slurm does not start: $(tail -n 3 "$folder/log")" >&2
        stop
        exit 1
    }
    trap - INT TERM HUP
    say "up: $(<"$folder/links")"
}

check_slow() {
    local count=$1 host=${2%%:*} rate=${2#*:}
    if ! [[ $2 == *:* && $host =~ ^h[1-9][0-9]{0,2}$ && ${host#h} -le $count ]] || ! is_rate "$rate"; then
        die "--slow: \"$2\" is no HOST:RATE: use one such as h$count:20mbit"
    fi
}

# start COUNT RATE DELAY [HOST:RATE]…
start() {
    (
        printf '%s\n' "$BASHPID" >"$folder/supervisor.pid"
        exec setsid unshare --pid --fork --kill-child --mount --mount-proc --net --uts --ipc \
            "$BASH" "$self" inside "$folder" "$@" </dev/null >"$folder/log" 2>&1
    ) &
}

# Until every host has its link.
await_hosts() {
    local try
    for ((try = 0; try < 600; try++)); do
        [[ ! -e $folder/ready ]] || return 0
        supervisor >/dev/null || ((try < 20)) || return 1
        sleep 0.05
    done
    return 1
}

# What runs as the first process of the namespaces.
inside() {
    local count=$1 rate=$2 delay=$3 index other slow each
    shift 3
    # The numbers of processes that all hosts and all runs can look up, whatever their own /proc says.
    mount -t proc proc "$folder/proc"
    # Below /run nothing may be executed on some systems.
    mount -t tmpfs tmpfs "$folder/bin"
    # `mpirun` wants one program in the place of ssh.
    printf '#!/bin/sh\nexec "%s" "%s" agent "$@"\n' "$BASH" "$self" >"$folder/bin/agent"
    chmod +x "$folder/bin/agent"
    printf '127.0.0.1 localhost\n' >"$folder/names"
    for ((index = 1; index <= count; index++)); do
        printf '%s h%s\n' "$(address "$index")" "$index" >>"$folder/names"
    done
    mount --bind "$folder/names" /etc/hosts
    hostname switch
    ip link set dev lo up
    ip link add name switch type bridge
    ip link set dev switch up
    # A switch looks into no packet; the kernel's firewall would, for time that all hosts share.
    for each in /proc/sys/net/bridge/bridge-nf-call-*; do [[ ! -e $each ]] || echo 0 >"$each"; done
    for ((index = 1; index <= count; index++)); do
        other=$rate
        for slow in "$@"; do [[ $slow != "h$index:"* ]] || other=${slow#*:}; done
        host "$index" "$other" "$delay"
    done
    : >"$folder/ready"
    exec sleep infinity
}

address() { printf '10.77.0.%s\n' "$1"; }

# host INDEX RATE DELAY: makes one host and its cable.
host() {
    local index=$1 rate=$2 delay=$3 name=h$1 pid
    mkdir "$folder/hosts/$name"
    printf '%s\n' "$rate" >"$folder/hosts/$name/rate"
    unshare --net --uts --ipc --mount "$BASH" "$self" hold "$folder" "$name" &
    pid=$!
    until [[ -e $folder/hosts/$name/pid ]]; do
        kill -0 "$pid" || exit 1
        sleep 0.005
    done
    ip link add name "$name" type veth peer name eth0 netns "$pid"
    # What leaves the bridge here is what the host receives.
    shape "$rate" '' dev "$name"
    ip link set dev "$name" master switch up
    nsenter --target "$pid" --net --mount -- "$BASH" "$self" link "$folder" "$(address "$index")" "$rate" "$delay"
}

# What runs as the first process of a host.
hold() {
    local name=$1
    hostname "$name"
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs tmpfs "$folder/tmp"
    printf '%s\n' "$$" >"$folder/hosts/$name/pid.new"
    mv "$folder/hosts/$name/pid.new" "$folder/hosts/$name/pid"
    exec sleep infinity
}

# link ADDRESS RATE DELAY: what has to be done within the host for its link.
link() {
    # Addresses that the kernel makes up would be one more way between two hosts.
    [[ ! -e /proc/sys/net/ipv6 ]] || echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
    # What clusters have, whatever this machine's own connections use; bbr, for one, holds a connection
    # to the share of the link that it had while others were busy.
    echo cubic 2>/dev/null >/proc/sys/net/ipv4/tcp_congestion_control ||
        say "no cubic here: TCP has $(cat /proc/sys/net/ipv4/tcp_congestion_control)" >&2
    # An mpirun waits for the daemon of a host that is cut off for as long as TCP does: by default a
    # quarter of an hour, here two minutes, as clusters that must notice have it.
    echo 8 >/proc/sys/net/ipv4/tcp_retries2
    ip link set dev lo up
    ip address add "$1/24" dev eth0
    shape "$2" "$3" dev eth0
    ip link set dev eth0 up
}

# shape RATE DELAY dev NAME
shape() {
    local rate=$1 delay=$2 parent=(root)
    shift 2
    if [[ -n $delay ]]; then
        tc qdisc add "$@" root handle 1: netem delay "$delay" limit 100000
        parent=(parent 1:1)
    fi
    [[ -z $rate ]] || tc qdisc add "$@" "${parent[@]}" tbf rate "$rate" burst "$burst" latency "$patience"
}

# agent HOST COMMAND…: called on any host in place of ssh; a shell takes the words apart, as ssh's would.
agent() {
    while [[ ${1-} == -* ]]; do shift; done
    local name=$1
    shift
    is_host "$name" || die "no host $name: use one of $(hosts | paste -sd ' ')"
    move "$name" / sh -c "$*"
}

# move HOST DIRECTORY COMMAND…: becomes that command on that host. For whoever is in the laboratory, with
# processes of any numbering: a /proc of their own is part of the move.
move() {
    local name=$1 directory=$2 pid namespaces links
    shift 2
    read -r pid <"$folder/hosts/$name/pid"
    read -r links <"$folder/links"
    namespaces=$folder/proc/$pid/ns
    exec nsenter --net="$namespaces/net" --uts="$namespaces/uts" --ipc="$namespaces/ipc" \
        --mount="$namespaces/mnt" -- unshare --mount-proc env --chdir="$directory" TMPDIR="$folder/tmp" MPISWARM_LINKS="$links" "$@"
}

# enter COMMAND…: runs lab.sh COMMAND… within, as the first of processes that all end with it, and that
# end when this shell does.
enter() {
    local init
    init=$(init)
    exec setpriv --pdeathsig KILL nsenter --target "$init" --net --mount --uts --ipc --pid -- \
        setpriv --pdeathsig KILL unshare --pid --fork --kill-child -- "$BASH" "$self" "$@"
}

# The first process's part: it stays, because what it would become does not expect to be the first.
first() {
    local code=0
    trap 'exit 143' TERM
    (move "$@") <&0 &
    wait "$!" || code=$?
    exit "$code"
}

run() {
    local each='' name list=() ranks=0
    while (($#)); do
        case $1 in
            --ranks-per-host) each=${2-} ;;
            --) shift && break ;;
            *) die "run: unknown argument $1; see --help" ;;
        esac
        shift 2 || die "the last option has no value; see --help"
    done
    [[ -z $each || $each =~ ^[1-9][0-9]{0,3}$ ]] || die "--ranks-per-host: \"$each\" is no number: use one such as 2"
    (($#)) || die "run --: add the command to run"
    init >/dev/null
    for name in $(hosts); do
        local here=${each:-1}
        [[ $name != h1 || -n $each ]] || here=2
        list+=("$name:$here")
        ((ranks += here))
    done
    mpi_environment any
    # These are for mpi_arguments.
    # shellcheck disable=SC2034
    mpi_hosts=$(IFS=, && printf '%s' "${list[*]}") mpi_agent=$folder/bin/agent mpi_interface=eth0 mpi_tcp=yes
    mpi_arguments "$ranks"
    supervised first h1 "$PWD" "$mpirun" "${mpirun_arguments[@]}" "$@"
}

# supervised COMMAND…: enter COMMAND…, and when this shell is told to end, return only when all is gone.
supervised() {
    local code=0
    (enter "$@") <&0 &
    job=$!
    trap 'ended_by 130' INT
    trap 'ended_by 143' TERM
    trap 'ended_by 129' HUP
    wait "$job" || code=$?
    exit "$code"
}

ended_by() {
    trap '' INT TERM HUP
    local below
    while kill -0 "$job" 2>/dev/null; do
        # With the first of a run's processes all others end, before whoever waits for it hears of it.
        if below=$(pgrep -P "$job"); then pkill -TERM -P "$below" || true; fi
        sleep 0.02
    done
    wait "$job" 2>/dev/null || true
    exit "$1"
}

# Sends as fast as it can, or counts what it is sent; the first second, when a connection has still to
# find its pace, does not count.
# shellcheck disable=SC2016
payload_rate='
use strict; use IO::Socket::INET;
# A bare Debian has hundredths of a second.
sub now { open(my $file, "<", "/proc/uptime") or die; return (split / /, <$file>)[0] }
if (eval { require Time::HiRes }) { no warnings; *now = sub { Time::HiRes::time() } }
my ($side, $address, $seconds) = @ARGV;
my $end = now() + $seconds + 10;
if ($side eq "send") {
    my $socket;
    until ($socket = IO::Socket::INET->new(PeerAddr => $address, PeerPort => 7700, Timeout => 1)) {
        die "no connection to $address\n" if now() > $end;
        select undef, undef, undef, 0.05;
    }
    my ($data, $until) = ("\0" x 65536, now() + $seconds);
    while (now() < $until) { syswrite($socket, $data) or last }
    exit;
}
my $listener = IO::Socket::INET->new(LocalAddr => $address, LocalPort => 7700, Listen => 1,
    ReuseAddr => 1, Timeout => $seconds + 10) or die "can not listen: $!\n";
my $socket = $listener->accept or die "nobody connects\n";
my ($begin, $since, $last, $bytes) = (now(), 0, 0, 0);
while (sysread($socket, my $data, 1 << 20)) {
    $last = now();
    if ($since) { $bytes += length $data } elsif ($last > $begin + 1) { $since = $last }
}
die "it ended too soon\n" unless $since && $last > $since;
my $rate = $bytes / ($last - $since);
printf "%.0f bytes/s (%.1f Mbit/s)\n", $rate, $rate * 8 / 1e6;
'

rate() {
    local from=${1-} to=${2-} seconds=${3-5} there sender code=0
    require_host "$from"
    require_host "$to"
    [[ $seconds =~ ^([2-9]|[1-9][0-9])$ ]] || die "rate: \"$seconds\" is no time: use 2 to 99 seconds"
    have perl || die "perl is missing: rate measures with it"
    there=$(address "${to#h}")
    (enter first "$from" / perl -e "$payload_rate" send "$there" "$seconds") &
    sender=$!
    (enter first "$to" / perl -e "$payload_rate" receive "$there" "$seconds") || code=$?
    wait "$sender" || code=$?
    return "$code"
}

# What is in the bridge, as `<name>@<…>` each.
plugged() { beside_bridge ip -o link show master switch | cut -d ' ' -f 2; }

status() {
    local name pid net rate link plugged process
    local -A count=()
    init >/dev/null
    # By their networks: whose processes run where.
    for process in /proc/[0-9]*; do
        if net=$(readlink "$process/ns/net" 2>/dev/null); then ((count[$net] += 1)); fi
    done
    plugged=$(plugged)
    for name in $(hosts); do
        read -r pid <"$folder/hosts/$name/pid"
        read -r rate <"$folder/hosts/$name/rate"
        net=$(beside_bridge readlink "/proc/$pid/ns/net")
        if [[ $plugged == *$name@* ]]; then link='linked'; else link='cut'; fi
        # One of them only holds the namespaces.
        printf '%-5s %-12s %-10s %-6s %s processes\n' "$name" "$(address "${name#h}")" "${rate:-unshaped}" \
            "$link" "$((count[$net] - 1))"
    done
}

stop() {
    local pid first
    if pid=$(supervisor); then
        # Its child is the first process of the namespaces. As a zombie it has outlived all others; it
        # stays one while the supervisor is stopped.
        if first=$(pgrep -P "$pid"); then
            kill -KILL "$first" 2>/dev/null || true
            while grep -qs '^State:.[^ZX]' "/proc/$first/status"; do sleep 0.02; done
        fi
        kill -KILL "$pid" 2>/dev/null || true
        while grep -qs '^State:.[^ZX]' "/proc/$pid/status"; do sleep 0.02; done
    fi
    rm -rf "$folder"
}

case ${1-} in
    -h | --help) usage ;;
    up) up "${@:2}" ;;
    run) run "${@:2}" ;;
    on)
        init >/dev/null
        require_host "${2-}"
        (($# >= 3)) || die "on $2: add the command to run there"
        enter first "$2" "$PWD" "${@:3}"
        ;;
    rate)
        init >/dev/null
        rate "${@:2}"
        ;;
    cut | heal)
        init >/dev/null
        require_host "${2-}"
        if [[ $1 == cut ]]; then change=(nomaster); else change=(master switch); fi
        beside_bridge ip link set dev "$2" "${change[@]}"
        ;;
    status) status ;;
    down)
        if [[ ! -e $folder ]]; then
            say "not up"
            exit
        fi
        [[ -e $folder/laboratory ]] || die "$folder holds other files: name an empty folder"
        stop
        say "down"
        ;;
    # What the laboratory itself calls.
    inside) inside "${@:3}" ;;
    hold) hold "$3" ;;
    link) link "${@:3}" ;;
    agent) agent "${@:2}" ;;
    first) first "${@:2}" ;;
    *) die "use one of: up, run, on, rate, cut, heal, status, down; see --help" ;;
esac
