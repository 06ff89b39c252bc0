from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from stages.errors import OutputBusyError, UsageError
from stages.lease import FOLDER, Fence, Holder, Lease, dead_here, taken_over
from stages.storage import open_storage
from tests.stages.simulated import MemoryStorage

HOLD = """
import sys, time
from stages.lease import Holder, Lease
from stages.storage import open_storage
with Lease(open_storage(sys.argv[1]), Holder.me("first")):
    print("held", flush=True)
    time.sleep(60)
"""


def elsewhere(run_id: str, **changes) -> Holder:
    return replace(Holder.me(run_id), machine="another machine", host="far", **changes)


def test_a_second_run_is_told_who_holds_it_and_gets_it_at_once_when_that_one_is_killed(tmp_path):
    store = open_storage(str(tmp_path))
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    second = Lease(store, Holder.me("second"))
    with pytest.raises(OutputBusyError, match=rf"is being written by run first \(process {first.pid} on ") as error:
        second.acquire()
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    first.kill()
    first.wait()
    first.stdout.close()
    started = time.monotonic()
    with second:
        assert time.monotonic() - started < 5
        assert second.name == f"{FOLDER}00000002.json"
        assert taken_over(store) == ()  # it is known to be dead: it commits nothing more
    with Lease(store, Holder.me("third")) as third:
        assert third.name == f"{FOLDER}00000003.json"
    assert [one.name for one in store.list(FOLDER)] == [f"{FOLDER}00000003.json"]


def test_a_number_used_again_by_another_process_is_not_the_holder():
    me = Holder.me("run")
    assert not dead_here(me)
    assert dead_here(replace(me, started=me.started - 100))
    assert dead_here(replace(me, pid=2**22 + 1))
    assert not dead_here(replace(me, pid=2**22 + 1, machine="another"))  # its process ids say nothing here


def test_a_zombie_process_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    holder = replace(Holder.me("run"), pid=child.pid, started=time.time())
    child.stdout.read()
    for _ in range(100):
        if dead_here(holder):
            break
        time.sleep(0.05)
    assert dead_here(holder)
    child.stdout.close()
    child.wait()


def test_on_another_machine_the_term_decides():
    store = MemoryStorage()
    now = [1000.0]
    waits: list[float] = []
    options = {"clock": lambda: now[0], "wait": waits.append}
    far = Lease(store, elsewhere("far"), **options)
    far.acquire()
    near = Lease(store, Holder.me("near"), **options)
    now[0] += 59
    with pytest.raises(OutputBusyError, match="run far"):
        near.acquire()
    assert not waits
    now[0] += 2
    near.acquire()
    assert waits == [pytest.approx(22.5)]  # watched, in case only its clock is slow
    assert taken_over(store) == ("far",)
    for act in (far.check, far.renew):
        with pytest.raises(OutputBusyError, match="another run has taken over"):
            act()
    far.release()
    near.check()
    near.release()
    again = Lease(store, Holder.me("again"), **options)
    again.acquire()
    assert taken_over(store) == ("far",)  # it may still be asleep


def test_a_holder_whose_clock_is_slow_is_seen_to_live():
    store = MemoryStorage()
    slow = Lease(store, elsewhere("slow"), clock=lambda: 1000.0)
    slow.acquire()
    renewals = iter([1100.0, 1200.0])

    def wait(_: float) -> None:
        slow._clock = lambda: next(renewals)
        slow.renew()

    with pytest.raises(OutputBusyError, match="run slow"):
        Lease(store, Holder.me("near"), clock=lambda: 5000.0, wait=wait).acquire()


def test_the_lease_is_renewed_in_the_background():
    store = MemoryStorage()
    with Lease(store, Holder.me("run", term=0.2)) as lease:
        first = json.loads(store.read(lease.name))["renewed"]
        for _ in range(100):
            if json.loads(store.read(lease.name))["renewed"] > first:
                break
            time.sleep(0.02)
        assert json.loads(store.read(lease.name))["renewed"] > first
    assert json.loads(store.read(f"{FOLDER}00000001.json"))["released"]
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_one_of_many_at_once_gets_it(tmp_path):
    store = open_storage(str(tmp_path))
    got: list[Lease] = []
    busy: list[OutputBusyError] = []

    def run(name: str) -> None:
        lease = Lease(store, Holder.me(name))
        try:
            lease.acquire()
            got.append(lease)
        except OutputBusyError as error:
            busy.append(error)

    threads = [threading.Thread(target=run, args=(f"run {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(busy)) == (1, 7)
    got[0].check()


def test_the_fence_stops_writers_of_a_lost_lease_and_asks_seldom():
    store = MemoryStorage()
    asked = []
    store.list = lambda prefix, real=store.list: asked.append(prefix) or real(prefix)
    old = Lease(store, elsewhere("old"), clock=lambda: 0.0)
    old.acquire()
    fence, seldom = Fence(store, old.name, every_s=0.0), Fence(store, old.name)
    fence.check()
    count = len(asked)
    for _ in range(10):
        seldom.check()
    assert len(asked) == count + 1
    Lease(store, Holder.me("new"), wait=lambda _: None).acquire()
    with pytest.raises(OutputBusyError, match="another run has taken over memory"):
        fence.check()
    seldom.check()  # not yet
    Fence(store, "").check()


def test_a_file_that_is_no_lease_is_named(tmp_path):
    store = open_storage(str(tmp_path))
    store.put(f"{FOLDER}00000004.json", b"{}")
    with pytest.raises(UsageError, match=r"00000004.json is no lease: delete it"):
        Lease(store, Holder.me("run")).acquire()


def test_lease_on_s3(s3):
    store = open_storage("s3://corpus/out")
    s3.refuses = s3.loses = 0.1
    for i in range(6):
        with Lease(store, Holder.me(f"run {i}")) as lease:
            with pytest.raises(OutputBusyError, match=f"run {i}"):
                Lease(store, Holder.me("other")).acquire()
            lease.check()
    assert [one.name for one in store.list(FOLDER)] == [f"{FOLDER}00000006.json"]
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in store.read(f"{FOLDER}00000006.json")
