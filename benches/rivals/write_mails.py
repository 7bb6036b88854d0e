#!/usr/bin/env python3
"""Writes mails to a mounted filesystem as a mail filter would, or compares what is there.

Never measures reading: the mails are in memory before the clock starts.

    write_mails.py write   --mails DIR --from 1 --count 5000 --to MOUNT/first --writers 8
    write_mails.py compare --mails DIR --from 1 --count 5000 --to BRICK/first

Mail N is DIR/%06d.eml and becomes TO/%06d/message: one directory and one file for each, the file
fsynced before the writer goes on. Mail N is written by writer N modulo --writers, whatever the
others do. `write` prints one JSON line: messages, bytes, seconds. `compare` prints nothing and
fails on the first mail that is missing or differs.
"""

import argparse
import json
import os
import sys
import threading
import time


def read_mails(directory, first, count):
    """The numbered mails, as pairs of number and bytes."""
    mails = []
    for number in range(first, first + count):
        with open(os.path.join(directory, f"{number:06}.eml"), "rb") as file:
            mails.append((number, file.read()))
    return mails


def write_one(target, number, body):
    """Writes one mail; durable on return as far as fsync of its file makes it so."""
    place = os.path.join(target, f"{number:06}")
    os.mkdir(place)
    file = os.open(os.path.join(place, "message"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def write(mails, target, writers):
    """Writes all mails from `writers` threads; the seconds from the first to the last."""
    os.makedirs(target, exist_ok=True)
    barrier = threading.Barrier(writers + 1)
    failures = []

    def work(share):
        barrier.wait()
        try:
            for number, body in share:
                write_one(target, number, body)
        except OSError as error:
            failures.append(error)

    shares = [mails[writer::writers] for writer in range(writers)]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.monotonic()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    if failures:
        sys.exit(f"write_mails: {failures[0]}")
    return seconds


def compare(mails, target):
    """Fails unless every mail is under `target`, byte for byte."""
    for number, body in mails:
        place = os.path.join(target, f"{number:06}", "message")
        try:
            with open(place, "rb") as file:
                found = file.read()
        except OSError as error:
            sys.exit(f"write_mails: {error}")
        if found != body:
            sys.exit(f"write_mails: {place} differs from mail {number:06}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["write", "compare"])
    parser.add_argument("--mails", required=True, help="directory of numbered .eml files")
    parser.add_argument("--from", dest="first", type=int, default=1, help="number of the first")
    parser.add_argument("--count", type=int, required=True, help="how many")
    parser.add_argument("--to", required=True, help="where the mails are, or are to be")
    parser.add_argument("--writers", type=int, default=8, help="threads that write at once")
    arguments = parser.parse_args()
    if arguments.writers < 1 or arguments.count < 1:
        parser.error("--writers and --count begin at 1")
    try:
        mails = read_mails(arguments.mails, arguments.first, arguments.count)
    except OSError as error:
        sys.exit(f"write_mails: {error}")
    if arguments.command == "compare":
        compare(mails, arguments.to)
        return
    seconds = write(mails, arguments.to, arguments.writers)
    size = sum(len(body) for _, body in mails)
    print(json.dumps({"messages": len(mails), "bytes": size, "seconds": round(seconds, 6)}))


if __name__ == "__main__":
    main()
