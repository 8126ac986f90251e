#!/usr/bin/env python3
"""Usage: scripts/torrent.py check TORRENT DIR | deliver SRC DIR…

What scripts/libtorrent.sh calls with a Python that has libtorrent; its --help says more.
"""

import os
import select
import shutil
import signal
import sys
import tempfile
import time

if sys.argv[1:2] in ([], ["-h"], ["--help"]):
    print(__doc__.rstrip())
    sys.exit(0 if sys.argv[1:] else 2)

import libtorrent as lt  # noqa: E402

FLAGS = lt.create_torrent.v2_only | lt.create_torrent.symlinks
CHECKING = (lt.torrent_status.checking_files, lt.torrent_status.checking_resume_data)
# What checks or fetches gigabytes on a slow disk, and still ends before whoever waits for it.
PATIENCE_SECONDS = 300


def made_of(path, piece_length, is_taken=lambda _: True):
    """The metainfo that libtorrent itself makes of a file or folder."""
    files = lt.file_storage()
    lt.add_files(files, path, is_taken, FLAGS)
    torrent = lt.create_torrent(files, piece_length, FLAGS)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    made = torrent.generate()
    # Of the moment, not of the tree.
    made.pop(b"creation date", None)
    return made


def differences(ours, theirs, path=""):
    """What two metainfo files say differently. Links have no bytes, and their mode says nothing."""
    for key in sorted(set(ours) | set(theirs)):
        one, other = ours.get(key), theirs.get(key)
        name = f"{path}/{key.decode(errors='backslashreplace')}"
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(one, other, name)
            continue
        is_link = b"symlink path" in ours and b"symlink path" in theirs
        if one != other and not (is_link and key in (b"attr", b"length")):
            yield f"{name}: {one!r:.80}, by libtorrent {other!r:.80}"


def session(listens):
    """A node without anything that would leave this machine."""
    # For one machine, as libtorrent's tuning guide says: TCP alone, no encryption, no limit of uploads.
    return lt.session(
        lt.high_performance_seed() | {
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "out_enc_policy": lt.enc_policy.disabled,
            "in_enc_policy": lt.enc_policy.disabled,
            "unchoke_slots_limit": -1,
            "max_out_request_queue": 1500,
            "request_queue_time": 3,
            "min_reconnect_time": 1,
            "listen_interfaces": "127.0.0.1:0" if listens else "",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "allow_multiple_connections_per_ip": True,
            "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.storage_notification,
        }
    )


def added(node, torrent, folder, **more):
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = folder
    # Otherwise a queue looks every few seconds whether it may start.
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    for flag in more.get("flags", ()):
        parameters.flags |= flag
    return node.add_torrent(parameters)


def check(torrent, folder):
    """Whether libtorrent makes the same torrent of FOLDER/<name>, and takes what lies there for whole."""
    with open(torrent, "rb") as file:
        ours = lt.bdecode(file.read())
    if ours is None:
        sys.exit(f"{torrent}: no bencode")
    name = ours[b"info"][b"name"].decode()
    theirs = made_of(os.path.join(folder, name), ours[b"info"][b"piece length"])
    found = list(differences(ours, theirs))
    for line in found:
        print(line)
    node = session(listens=False)
    handle = added(node, torrent, folder)
    end = time.monotonic() + PATIENCE_SECONDS
    # After an error it stays in that state.
    while handle.status().state in CHECKING and not handle.status().errc.value() and time.monotonic() < end:
        time.sleep(0.01)
    status = handle.status()
    if status.errc.value():
        print(f"{status.errc.message()}: {status.error_file}")
    is_whole = status.is_seeding
    count = handle.torrent_file().num_pieces()
    print(f"{name}: {status.num_pieces} of {count} whole, {len(found)} differences, {status.info_hashes.v2}")
    return 0 if is_whole and not found else 1


def node_of(torrent, folder, is_source, ports_in, ports_out):
    """A process of its own: tells its port, learns those of all, and fetches until it has everything."""
    node = session(listens=True)
    while not node.listen_port():
        time.sleep(0.005)
    # Whoever made the torrent has just hashed all of it.
    handle = added(node, torrent, folder, flags=(lt.torrent_flags.seed_mode,) if is_source else ())
    os.write(ports_out, b"%d\n" % node.listen_port())
    ports = [int(port) for port in os.read(ports_in, 4096).split()]
    while handle.status().state in CHECKING and not handle.status().errc.value():
        time.sleep(0.005)
    # One of each two calls the other: where both call at once, both hang up, and call again after a minute.
    for port in ports[: ports.index(node.listen_port())]:
        handle.connect_peer(("127.0.0.1", port))
    is_flushing = False
    while True:
        status = handle.status()
        if status.errc.value():
            print(f"{folder}: {status.errc.message()}: {status.error_file}", file=sys.stderr)
            return
        if not (is_source or is_flushing) and status.is_seeding:
            # Whole means verified; what was verified may still wait to be written.
            is_flushing = True
            handle.flush_cache()
        alerts = node.pop_alerts()
        for alert in alerts:
            if isinstance(alert, lt.file_error_alert):
                print(alert.message(), file=sys.stderr)
                return
        if any(isinstance(alert, lt.cache_flushed_alert) for alert in alerts) and is_flushing:
            os.write(ports_out, b"whole\n")
            is_source, is_flushing = True, False
        time.sleep(0.005)


def deliver(source, folders):
    """One node has SOURCE, one more for each folder fetches it there, each a process."""
    work = tempfile.mkdtemp()
    torrent = os.path.join(work, "torrent")
    with open(torrent, "wb") as file:
        # It can't seed a link that leads out of the tree or to nothing.
        file.write(lt.bencode(made_of(source, 0, lambda path: not os.path.islink(path))))
    places = [os.path.dirname(source), *folders]
    name = os.path.basename(source)
    if lt.torrent_info(torrent).name() != name:
        # libtorrent takes the only file of a folder for a torrent of that file, without the folder.
        places = [os.path.join(folder, name) for folder in places]
        for folder in places:
            os.makedirs(folder, exist_ok=True)
    nodes = []
    try:
        for folder in places:
            ours_in, theirs_out = os.pipe()
            theirs_in, ours_out = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    node_of(torrent, folder, not nodes, theirs_in, theirs_out)
                finally:
                    os._exit(1)
            os.close(theirs_out)
            os.close(theirs_in)
            nodes.append((pid, ours_in, ours_out))
        ports = answers(incoming for _, incoming, _ in nodes)
        for _, _, outgoing in nodes:
            os.write(outgoing, b" ".join(ports))
        answers(incoming for _, incoming, _ in nodes[1:])
    finally:
        for pid, _, _ in nodes:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        shutil.rmtree(work)
    return 0


def answers(pipes):
    """A line from each node."""
    said, end = [], time.monotonic() + PATIENCE_SECONDS
    for pipe in pipes:
        ready, _, _ = select.select([pipe], [], [], max(0, end - time.monotonic()))
        line = os.read(pipe, 64).strip() if ready else b""
        if not line:
            sys.exit("a node ended, or is not whole in time")
        said.append(line)
    return said


if __name__ == "__main__":
    if sys.argv[1] == "check":
        sys.exit(check(sys.argv[2], os.path.realpath(sys.argv[3])))
    sys.exit(deliver(os.path.realpath(sys.argv[2]), [os.path.realpath(folder) for folder in sys.argv[3:]]))
