#!/usr/bin/env bash
# Runs GlusterFS, replica 3, on this machine and measures what `quard demo` measures of quard.
# Never touches a GlusterFS that is there: it runs in namespaces of its own (see below).
#
# One child runs in a network, a mount and a process namespace made for it:
#   network   a veth pair with an address (GlusterFS refuses loopback), ports that nobody else sees
#   mount     /var/lib/glusterd, /var/log/glusterfs and /run are the run's own; so is the FUSE mount
#   process   glusterd, bricks, clients; the kernel ends them when the child ends, however it ends
set -euo pipefail

readonly ADDRESS=10.213.27.1
readonly VOLUME=q
readonly TOOL=glusterfs.sh
# GlusterFS looks for what it left unhealed every 600 s: two rounds and a little.
readonly HEAL_STALL_SECONDS=1300

usage() {
    cat <<'HELP'
Usage: benches/rivals/glusterfs.sh --mails DIR --count N --missed M [--writers 8] [--scratch DIR]

Measures GlusterFS replica 3 (three bricks on this machine): durable writes, heal of a brick that
was down, rm -rf, disk taken. Progress goes to stderr; the last line of stdout is one JSON object.

  --mails DIR    mails 000001.eml, 000002.eml ... in feeding order, at least N + M of them
  --count N      mails written while all bricks are up
  --missed M     mails written while one brick is down
  --writers W    parallel writers, each fsyncing its file before the next mail [default: 8]
  --scratch DIR  where bricks and logs lie, on the disk to measure [default: $TMPDIR, else /tmp]
  --keep-logs    leave the scratch directory with GlusterFS's logs behind

Examples:
  quard demo --write-mails /tmp/mails --messages 5000 --missed 5000 --corpus ~/corpus
  benches/rivals/glusterfs.sh --mails /tmp/mails --count 5000 --missed 5000
  benches/rivals/glusterfs.sh --mails /tmp/mails --count 200 --missed 100 --scratch /srv/scratch

Needs root and, on Debian: apt-get install glusterfs-server glusterfs-client iproute2 python3
Exit codes: 0 measured, 1 failed, 2 usage, or something is not installed.
HELP
}

say() { echo "$TOOL: $*" >&2; }

fail() {
    say "$@"
    exit 1
}

refuse() {
    say "$@"
    exit 2
}

now() { date +%s.%N; }

# Seconds since the time in $1.
since() { awk -v start="$1" -v end="$(now)" 'BEGIN { printf "%.3f", end - start }'; }

need_program() {
    command -v "$1" >/dev/null || refuse "$1 is missing: apt-get install $2"
}

need_number() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] || refuse "$1 takes a number from 1 on, not '$2'"
}

# ---- outside: check, make the scratch directory and the namespaces, clean up ----

parse() {
    mails='' count='' missed='' writers=8 parent=${TMPDIR:-/tmp} keep_logs=no
    while (($#)); do
        case $1 in
            --help | -h) usage && exit 0 ;;
            --keep-logs) keep_logs=yes && shift && continue ;;
            --mails | --count | --missed | --writers | --scratch) ;;
            *) refuse "unknown argument '$1': see --help" ;;
        esac
        (($# >= 2)) || refuse "$1 takes a value"
        case $1 in
            --mails) mails=$2 ;;
            --count) count=$2 ;;
            --missed) missed=$2 ;;
            --writers) writers=$2 ;;
            --scratch) parent=$2 ;;
        esac
        shift 2
    done
    [[ -n $mails && -n $count && -n $missed ]] ||
        refuse "--mails, --count and --missed are needed: see --help"
    need_number --count "$count"
    need_number --missed "$missed"
    need_number --writers "$writers"
}

check_surroundings() {
    ((EUID == 0)) || refuse "has to run as root: namespaces, FUSE and trusted extended attributes"
    need_program glusterd glusterfs-server
    need_program gluster glusterfs-cli
    need_program glusterfs glusterfs-client
    need_program ip iproute2
    need_program unshare util-linux
    need_program setpriv util-linux
    need_program mountpoint util-linux
    need_program python3 python3
    [[ -c /dev/fuse ]] || refuse "/dev/fuse is missing: modprobe fuse"
    local last
    last=$(printf '%s/%06d.eml' "$mails" $((count + missed)))
    [[ -f $last ]] || refuse "$last is missing: --count and --missed together need that many mails"
    mails=$(realpath "$mails")
    [[ -d $parent ]] || refuse "$parent is no directory"
    if [[ $(stat -f -c %T "$parent") == tmpfs ]]; then
        say "warning: $parent is in memory, where an fsync costs nothing: say --scratch"
    fi
}

child=''
scratch=''

clean_up() {
    local code=$?
    trap - EXIT
    if [[ -n $child ]] && kill -0 "$child" 2>/dev/null; then
        # Its own child dies with it, and with that one all of its namespaces.
        kill -KILL "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    if [[ $keep_logs == yes && -n $scratch ]]; then
        rm -rf "$scratch"/brick1 "$scratch"/brick2 "$scratch"/brick3
        say "logs are in $scratch/log"
    elif [[ -n $scratch ]]; then
        rm -rf "$scratch"
    fi
    exit "$code"
}

run_outside() {
    parse "$@"
    check_surroundings
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    scratch=$(mktemp -d "$parent/quard-glusterfs.XXXXXX")
    mkdir "$scratch"/{brick1,brick2,brick3,mount,state,log}
    # In the background, so that a signal to this script is acted upon at once.
    setpriv --pdeathsig KILL \
        unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
        "$BASH" "$0" --inside "$scratch" "$mails" "$count" "$missed" "$writers" &
    child=$!
    wait "$child"
}

# ---- inside the namespaces: GlusterFS and the measurements ----

shut_off() {
    mount --bind "$scratch/state" /var/lib/glusterd
    mkdir -p /var/log/glusterfs
    mount --bind "$scratch/log" /var/log/glusterfs
    mount -t tmpfs tmpfs /run
    ip link set lo up
    ip link add gluster0 type veth peer name gluster1
    ip addr add "$ADDRESS/24" dev gluster0
    ip link set gluster0 up
    ip link set gluster1 up
}

ask() { gluster --mode=script "$@"; }

# Waits until the command succeeds, for at most the seconds in $1.
wait_for() {
    local seconds=$1 start=$SECONDS
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS - start < seconds)) || return 1
        sleep 0.2
    done
}

start_volume() {
    say "starting glusterd and a volume with three bricks"
    glusterd || fail "glusterd does not start: see --keep-logs"
    wait_for 60 ask pool list || fail "glusterd does not answer: see --keep-logs"
    local bricks=("$ADDRESS:$scratch/brick1" "$ADDRESS:$scratch/brick2" "$ADDRESS:$scratch/brick3")
    ask volume create "$VOLUME" replica 3 "${bricks[@]}" force >&2
    ask volume start "$VOLUME" >&2
    glusterfs --volfile-server="$ADDRESS" --volfile-id="$VOLUME" "$scratch/mount"
    wait_for 60 mountpoint -q "$scratch/mount" || fail "the volume is not mounted after 60 s"
    wait_for 60 all_bricks_answer || fail "not all bricks answer after 60 s"
}

# Entries that wait for healing, over all bricks; nothing while a brick does not answer.
heal_count() {
    ask volume heal "$VOLUME" statistics heal-count 2>/dev/null | awk '
        /^Number of entries: [0-9]+$/ { bricks += 1; entries += $4 }
        END { if (bricks == 3) print entries; else exit 1 }'
}

all_bricks_answer() { heal_count; }

nothing_to_heal() { [[ $(heal_count) == 0 ]]; }

# The process that serves brick 1.
brick_pid() {
    local files=("/run/gluster/vols/$VOLUME"/*brick1.pid)
    cat "${files[0]}"
}

# write SUBDIRECTORY FIRST COUNT: prints write_mails.py's line.
write() {
    python3 "$here/write_mails.py" write --mails "$mails" --from "$2" --count "$3" \
        --to "$scratch/mount/$1" --writers "$writers"
}

# compare BRICK SUBDIRECTORY FIRST COUNT
compare() {
    python3 "$here/write_mails.py" compare --mails "$mails" --from "$3" --count "$4" \
        --to "$scratch/$1/$2" || fail "$1 does not hold what was written"
}

# field NAME LINE: a number from a flat JSON line.
field() { python3 -c 'import json, sys; print(json.loads(sys.argv[2])[sys.argv[1]])' "$1" "$2"; }

lose_brick() {
    local pid
    pid=$(brick_pid)
    say "killing brick 1 (process $pid of this run)"
    kill -KILL "$pid"
    wait_for 30 eval "! kill -0 $pid" || fail "brick 1 does not end"
}

heal() {
    local start
    start=$(now)
    ask volume start "$VOLUME" force >&2
    local entries=unknown before=unknown shown=$SECONDS changed=$SECONDS
    until [[ $entries == 0 ]]; do
        sleep 0.5
        entries=$(heal_count) || entries=unknown
        [[ $entries == "$before" ]] || changed=$SECONDS
        before=$entries
        ((SECONDS - changed < HEAL_STALL_SECONDS)) ||
            fail "still $entries entries to heal after $HEAL_STALL_SECONDS s without progress"
        if ((SECONDS - shown >= 10)); then
            say "entries to heal: $entries, after $(since "$start") s"
            shown=$SECONDS
        fi
    done
    heal_seconds=$(since "$start")
}

disk_bytes() { du --summarize --block-size=1 "$scratch/$1" | cut -f1; }

run_inside() {
    scratch=$1 mails=$2 count=$3 missed=$4 writers=$5
    here=$(dirname "$(realpath "$0")")
    shut_off
    start_volume

    say "writing $count mails with $writers writers"
    local first later
    first=$(write first 1 "$count")
    wait_for 60 nothing_to_heal || fail "a brick missed writes while all were up"
    compare brick1 first 1 "$count"
    say "written: $first"

    lose_brick
    say "writing $missed mails while brick 1 is down"
    later=$(write missed $((count + 1)) "$missed")
    say "written: $later"
    say "starting brick 1 again and waiting until nothing is left to heal"
    heal
    compare brick1 missed $((count + 1)) "$missed"
    say "healed after $heal_seconds s"
    sync
    local disk
    disk="$(disk_bytes brick1),$(disk_bytes brick2),$(disk_bytes brick3)"

    say "removing $count mails (rm -rf)"
    local start remove_seconds
    start=$(now)
    rm -rf "$scratch/mount/first"
    remove_seconds=$(since "$start")
    say "removed after $remove_seconds s"
    print_result "$first" "$later" "$remove_seconds" "$disk"
}

print_result() {
    local version rate raw
    version=$(gluster --version | awk 'NR == 1 { print $2 }')
    rate=$(awk -v n="$count" -v s="$(field seconds "$1")" 'BEGIN { printf "%.2f", n / s }')
    raw=$(($(field bytes "$1") + $(field bytes "$2")))
    printf '{"rival":"glusterfs","version":"%s","messages":%d,"write_messages_per_second":%s,' \
        "$version" "$count" "$rate"
    printf '"missed":%d,"heal_seconds":%s,"remove_seconds":%s,"disk_bytes":[%s],"raw_bytes":%d}\n' \
        "$missed" "$heal_seconds" "$3" "$4" "$raw"
}

if [[ ${1:-} == --inside ]]; then
    shift
    run_inside "$@"
else
    run_outside "$@"
fi
