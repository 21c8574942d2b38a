"""Faults of what is under ports: devices and namespaces that go, come, move, change and refuse."""

from __future__ import annotations

import time

from tests.lab import LabError, wait_for
from tools.faults.catalogue import Outcome, fault
from tools.faults.flows import Datagrams
from tools.faults.world import World
from vdp.netlink import namespaces


def flowing_after(flow: Datagrams, timeout: float = 10.0) -> float:
    """Milliseconds until datagrams flow."""
    began = time.monotonic()
    wait_for("datagrams to flow again", flow.is_flowing, timeout)
    return (time.monotonic() - began) * 1000


def cpu(world: World) -> float:
    """Percent of a processor that the daemon takes."""
    used, at = world.cpu_s(), time.monotonic()
    time.sleep(0.3)
    return (world.cpu_s() - used) / (time.monotonic() - at) * 100


@fault("F6", "an interface deleted and made again (veth, TAP)", 5, quick=True)
def deleted(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    fds = world.fds()
    lost, missing, attached, more = 0, [], [], []
    mark = world.log_mark()
    usual = cpu(world)
    for _ in range(times):
        world.main.begin()
        before = world.daemon.ports()["pa"]["features"]
        world.near.ip("link", "del", "eth1")
        began = time.monotonic()
        outcome.notice(world.finds("port pa: Its device eth1 is gone"), "port pa has lost its device")
        missing.append((time.monotonic() - began) * 1000)
        more.append(cpu(world) - usual)
        world.cable_p()
        began = time.monotonic()
        outcome.notice(world.is_over("port pa"), "port pa has a device again")
        attached.append((time.monotonic() - began) * 1000)
        lost += world.main.end().lost
        outcome.must(world.daemon.ports()["pa"]["features"] == before, "pa's offloads are as before")
        flowing_after(world.others)
    for _ in range(times):  # vdp's own device: it makes it again by itself
        world.others.begin()
        world.left.ip("link", "del", "tap0")
        began = time.monotonic()
        wait_for("tap0", lambda: "LOWER_UP" in world.left.ip("link", "show", "tap0", check=False), 5)
        attached.append((time.monotonic() - began) * 1000)
        lost += world.others.end().lost
        flowing_after(world.main)
    outcome.figure("others_lost", lost, most=0)
    outcome.figure("missing_ms_worst", max(missing), most=100)
    outcome.figure("attached_ms_worst", max(attached), most=1000)
    outcome.figure("cpu_points_more", min(more), most=5)
    wait_for("descriptors to be closed", lambda: world.fds() <= fds, 3)
    outcome.figure("fds_left", world.fds() - fds, most=0)
    lines = world.log_lines(mark, "its device .* is gone")
    outcome.figure("log_lines_each", lines / (2 * times), most=1, least=1)


@fault("F7", "a network namespace deleted and made again", 3, quick=True)
def namespace(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    fds = world.fds()
    lost, attached = 0, []
    for _ in range(times):
        world.others.begin()
        world.main.close()  # its sender lives there
        namespaces.remove(world.left.name)
        outcome.notice(world.finds("port tap0: Its network namespace"), "port tap0 has lost its namespace")
        namespaces.create(world.left.name)
        began = time.monotonic()
        outcome.notice(world.is_over("port tap0"), "port tap0 is in the new namespace")
        attached.append((time.monotonic() - began) * 1000)
        lost += world.others.end().lost
        world.left.ip("link", "set", "lo", "up")
        world.left.wait_ping("10.1.0.2")
        del world.main
        world.__dict__.pop("stream", None)
    outcome.figure("others_lost", lost, most=0)
    outcome.figure("attached_ms_worst", max(attached), most=1000)
    wait_for("descriptors to be closed", lambda: world.fds() <= fds, 3)
    outcome.figure("fds_left", world.fds() - fds, most=0)


@fault("F8", "an interface moved, renamed, enslaved, of another MAC address, its index reused", 2, quick=True)
def moved(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    near = world.near
    for _ in range(times):
        near.ip("link", "set", "eth1", "name", "lan1")
        outcome.notice(
            world.finds("port pa: Its device eth1 is called lan1"), "pa's device is called otherwise"
        )
        outcome.must(world.others.is_flowing(), "a renamed device is used on")
        near.ip("link", "set", "lan1", "name", "eth1")
        outcome.notice(world.is_over("port pa"), "pa's device has its name again")
        near.ip("link", "add", "br9", "type", "bridge")
        near.ip("link", "set", "eth1", "master", "br9")
        outcome.notice(world.finds("port pa: Its device eth1 has a master"), "pa's device is enslaved")
        near.ip("link", "del", "br9")
        outcome.notice(world.is_over("port pa"), "pa's device is free")
        _elsewhere(world, outcome)
        _index_reused(world, outcome)
        near.ip("link", "set", "eth0", "address", f"02:00:00:00:{time.time_ns() >> 8 & 0xFF:02x}:11")
        near.run("ping", "-c1", "-W2", "192.0.2.2", check=False)  # whoever sends tells the new address
        outcome.figure("flows_after_mac_ms", flowing_after(world.main), most=2000)
    outcome.notice(world.is_over("^port"), "all is as configured")


def _elsewhere(world: World, outcome: Outcome) -> None:
    """A TAP in another namespace: nothing goes there; and back."""
    elsewhere = world.lab.host("elsewhere")
    world.left.ip("link", "set", "tap0", "netns", elsewhere.name)
    outcome.notice(world.finds("port tap0: Its device tap0 is gone: it was moved"), "tap0 is elsewhere")
    elsewhere.ip("link", "set", "tap0", "up")
    before = int(elsewhere.run("cat", "/sys/class/net/tap0/statistics/rx_packets"))
    world.right.ping("10.1.0.1", 1, timeout=1)
    after = int(elsewhere.run("cat", "/sys/class/net/tap0/statistics/rx_packets"))
    outcome.figure("into_the_wrong_namespace", after - before, most=0)
    elsewhere.ip("link", "set", "tap0", "netns", world.left.name)
    outcome.notice(world.is_over("port tap0", 3), "tap0 is back")
    flowing_after(world.main)


def _index_reused(world: World, outcome: Outcome) -> None:
    """Another device with the index of one that is gone is not it."""
    near = world.near
    index = near.run("cat", "/sys/class/net/eth1/ifindex").strip()
    near.ip("link", "del", "eth1")
    near.ip("link", "add", "stranger", "index", index, "type", "veth", "peer", "name", "stranger2")
    near.ip("link", "set", "stranger2", "up")
    near.ip("link", "set", "stranger", "up")
    world.finds("port pa: Its device eth1 is gone")
    sent = int(near.run("cat", "/sys/class/net/stranger/statistics/tx_packets"))
    world.q.ping("10.2.0.1", 1, timeout=1)
    after = int(near.run("cat", "/sys/class/net/stranger/statistics/tx_packets"))
    outcome.figure("into_the_wrong_index", after - sent, most=0)
    near.ip("link", "del", "stranger")
    world.cable_p()
    outcome.notice(world.is_over("port pa"), "pa has its device again")
    flowing_after(world.others)


@fault("F9", "link down and up 100 times at 10 a second", 1)
def flapping(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    mark = world.log_mark()
    for _ in range(times):
        world.main.begin()
        outcome.notice(world.is_over("port pa"), "nothing before")
        for turn in range(100):
            at = time.monotonic()
            world.near.ip("link", "set", "eth1", "down" if turn % 2 == 0 else "up")
            time.sleep(max(0.0, 0.1 - (time.monotonic() - at)))
        outcome.figure("flowing_after_ms", flowing_after(world.others), most=100)
        outcome.figure("others_lost", world.main.end().lost, most=0)
    world.near.ip("link", "set", "eth1", "down")
    outcome.notice(world.finds("port pa"), "its device is down")
    world.near.ip("link", "set", "eth1", "up")
    outcome.notice(world.is_over("port pa"), "its device is up")
    outcome.figure("log_lines", world.log_lines(mark, "pa"), most=10)
    flowing_after(world.others)


@fault("F10", "MTU 1500, 1280, 9000 under traffic", 3)
def mtu(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    world.stream.wait()
    used = []
    for _ in range(times):
        for size in (1280, 9000, 1500):
            for host in (world.far, world.near):
                host.ip("link", "set", "eth0", "mtu", str(size))
            began = time.monotonic()
            wait_for("the MTU", lambda size=size: world.daemon.ports()["wan"]["mtu"] == size, 2)  # type: ignore[misc]
            used.append((time.monotonic() - began) * 1000)
            with world.far.capture("eth0", f"greater {size + 15}") as frames:
                world.stream.wait()
                world.main.begin()
                time.sleep(0.2)
                lost = world.main.end().lost
            # A super-packet of the veth is cut where a wire would begin: only whole packets count.
            oversize = [f for f in frames.packets() if len(f) > size + 14 and not _is_super(f, size)]
            outcome.figure(f"oversize_at_{size}", len(oversize), most=0)
            outcome.figure(f"lost_at_{size}", lost, most=0)
    outcome.figure("used_ms_worst", max(used), most=100)
    outcome.notice(world.log_lines(0, "port wan: mtu 1280") >= times, "the log says each new MTU")


def _is_super(frame: object, mtu: int) -> bool:
    """Whether it carries TCP that is cut behind the device."""
    import scapy.layers.inet as inet
    from scapy.packet import Packet

    assert isinstance(frame, Packet)
    layers = frame
    while layers.haslayer(inet.IP) and not isinstance(layers, inet.TCP):
        layers = layers.payload
        if isinstance(layers, inet.TCP):
            return True
        if not layers:
            break
    return False


@fault("F11", "offloads switched off and on under a TCP stream", 3)
def offloads(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    for _ in range(times):
        for feature in ("tso", "gro", "tx"):
            for state in ("off", "on"):
                world.near.run("ethtool", "-K", "eth0", feature, state, check=False)
                world.stream.wait()  # checks each byte
    bad = world.right.run("nstat", "-asz", "TcpInCsumErrors", "UdpInCsumErrors", check=False)
    count = sum(int(line.split()[1]) for line in bad.splitlines() if line.startswith(("Tcp", "Udp")))
    outcome.figure("bad_checksums", count, most=0)
    outcome.notice(world.is_over("."), "nothing is claimed to be wrong")


def write(world: World, text: str) -> None:
    """Another text for its configuration file."""
    file = world.lab.folder / (world.daemon.socket.stem + ".toml")
    file.write_text(f'{text}\n[control]\nsocket = "{world.daemon.socket}"\n')


def reload(world: World, text: str) -> None:
    """Have another configuration in force; LabError where it is refused."""
    write(world, text)
    answer = world.daemon.ask("reload")
    if answer["result"] not in ("applied", "unchanged"):
        raise LabError(f"the reload was {answer['result']}: {answer}")
