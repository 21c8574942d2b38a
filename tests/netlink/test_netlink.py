"""The kernel's view: kept in step with events, through a flood of them, and asked for paths."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from tests.lab import Host, Lab
from vdp.netlink import (
    Address,
    AddressChanged,
    Event,
    KernelRefused,
    LinkChanged,
    NeighbourChanged,
    Netlink,
    NoRoute,
    RouteChanged,
)

pytestmark = pytest.mark.root

PEER = IPv4Address("192.0.2.2")


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    return left, right


def on(host: Host, test: Callable[[Netlink], Awaitable[None]], event_buffer_size: int = 1 << 20) -> None:
    """Run `test` with a started Netlink of that host."""

    async def run() -> None:
        netlink = Netlink(host.name, event_buffer_size)
        try:
            await netlink.start()
            await asyncio.wait_for(test(netlink), 20)
        finally:
            await netlink.close()

    asyncio.run(run())


async def until(netlink: Netlink, change: Callable[[], object], wanted: Callable[[Event], bool]) -> Event:
    """The first event that is wanted, after `change` was made."""
    found: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def hear(event: Event) -> None:
        if wanted(event) and not found.done():
            found.set_result(event)

    unsubscribe = netlink.subscribe(hear)
    try:
        change()
        return await asyncio.wait_for(found, 10)
    finally:
        unsubscribe()


def test_the_first_dump_has_links_and_addresses(hosts: tuple[Host, Host]) -> None:
    async def test(netlink: Netlink) -> None:
        link = netlink.link("eth0")
        assert link is not None
        assert (link.mtu, link.up, link.kind, link.is_ethernet) == (1500, True, "veth", True)
        assert len(link.mac) == 6
        assert Address(link.index, IPv4Interface("192.0.2.1/24")) in netlink.addresses

    on(hosts[0], test)


def test_changes_arrive_as_events(hosts: tuple[Host, Host]) -> None:
    left = hosts[0]

    async def test(netlink: Netlink) -> None:
        event = await until(
            netlink,
            lambda: left.ip("link", "set", "eth0", "mtu", "1400"),
            lambda e: isinstance(e, LinkChanged) and e.new is not None and e.new.mtu == 1400,
        )
        assert isinstance(event, LinkChanged)
        assert event.old is not None
        assert event.old.mtu == 1500
        event = await until(
            netlink,
            lambda: left.ip("address", "add", "198.51.100.1/32", "dev", "eth0"),
            lambda e: isinstance(e, AddressChanged),
        )
        assert isinstance(event, AddressChanged)
        assert event.is_present
        assert event.address.interface == IPv4Interface("198.51.100.1/32")
        event = await until(
            netlink,
            lambda: left.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.2"),
            lambda e: isinstance(e, RouteChanged) and e.destination == IPv4Network("203.0.113.0/24"),
        )
        event = await until(
            netlink,
            lambda: left.ip("link", "del", "eth0"),
            lambda e: isinstance(e, LinkChanged) and e.new is None,
        )
        assert netlink.link("eth0") is None
        assert all(a.interface.ip != IPv4Address("192.0.2.1") for a in netlink.addresses)

    on(left, test)


@pytest.mark.conformance("B10")
def test_a_path_is_what_ip_route_get_says(hosts: tuple[Host, Host]) -> None:
    left = hosts[0]
    left.ip("route", "add", "10.0.0.0/8", "via", "192.0.2.2", "mtu", "1300")

    async def test(netlink: Netlink) -> None:
        link = netlink.link("eth0")
        assert link is not None
        path = await netlink.path("10.1.2.3", source="192.0.2.1", tos=0xB9, interface="eth0")
        assert (path.interface, path.ifindex, path.mtu, path.hard_header_len) == (
            "eth0",
            link.index,
            1300,
            14,
        )
        assert (path.next_hop, path.source, path.local) == (PEER, IPv4Address("192.0.2.1"), False)
        assert path.source_mac == link.mac
        assert (await netlink.path(PEER)).mtu == 1500

    on(left, test)


def test_a_local_path_is_loopback_with_zero_addresses(hosts: tuple[Host, Host]) -> None:
    async def test(netlink: Netlink) -> None:
        for address in ("127.0.0.1", "192.0.2.1"):
            path = await netlink.path(address)
            assert (path.interface, path.local, path.mtu) == ("lo", True, 65536)
            assert path.source_mac == path.destination_mac == bytes(6)

    on(hosts[0], test)


def test_group_addresses_need_no_neighbour(hosts: tuple[Host, Host]) -> None:
    hosts[0].ip("route", "add", "default", "via", "192.0.2.2")

    async def test(netlink: Netlink) -> None:
        assert (await netlink.path("192.0.2.255")).destination_mac == b"\xff" * 6
        group = (await netlink.path("239.129.1.2")).destination_mac
        assert group == bytes.fromhex("01005e010102")

    on(hosts[0], test)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(None, errno.ENETUNREACH), ("unreachable", errno.EHOSTUNREACH), ("prohibit", errno.EACCES)],
)
def test_no_way_is_said_with_the_kernels_errno(hosts: tuple[Host, Host], kind: str | None, code: int) -> None:
    if kind is not None:
        hosts[0].ip("route", "add", kind, "8.8.8.0/24")

    async def test(netlink: Netlink) -> None:
        with pytest.raises(NoRoute, match=r"no route to 8\.8\.8\.8: ") as refused:
            await netlink.path("8.8.8.8")
        assert refused.value.errno == code

    on(hosts[0], test)


def test_no_way_from_an_address_that_is_not_ours_names_it(hosts: tuple[Host, Host]) -> None:
    async def test(netlink: Netlink) -> None:
        with pytest.raises(NoRoute, match=rf"no route to {PEER} from 192\.0\.2\.77: "):
            await netlink.path(PEER, source="192.0.2.77")

    on(hosts[0], test)


def test_a_neighbour_is_resolved_by_the_kernel(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    mac = bytes.fromhex(right.run("cat", "/sys/class/net/eth0/address").strip().replace(":", ""))

    async def test(netlink: Netlink) -> None:
        path = await netlink.path(PEER)
        assert path.destination_mac is None
        assert await netlink.resolve(PEER, path.ifindex) == mac
        assert (await netlink.path(PEER)).destination_mac == mac

    on(left, test)


def test_many_may_wait_for_one_neighbour(hosts: tuple[Host, Host]) -> None:
    async def test(netlink: Netlink) -> None:
        path = await netlink.path(PEER)
        answers = await asyncio.gather(*(netlink.resolve(PEER, path.ifindex) for _ in range(8)))
        assert None not in answers
        assert len(set(answers)) == 1

    on(hosts[0], test)


def test_a_neighbour_that_does_not_answer_is_none(hosts: tuple[Host, Host]) -> None:
    async def test(netlink: Netlink) -> None:
        path = await netlink.path("192.0.2.77")
        assert await netlink.resolve("192.0.2.77", path.ifindex, timeout=0.05) is None
        assert await netlink.resolve("192.0.2.77", path.ifindex, timeout=9) is None  # the kernel gave up

    on(hosts[0], test)


def test_a_touched_neighbour_is_probed_again(hosts: tuple[Host, Host]) -> None:
    left = hosts[0]

    async def test(netlink: Netlink) -> None:
        path = await netlink.path(PEER)
        mac = await netlink.resolve(PEER, path.ifindex)
        assert mac is not None
        left.ip("neigh", "change", str(PEER), "lladdr", mac.hex(":"), "nud", "stale", "dev", "eth0")

        def touch() -> None:
            tasks.append(asyncio.ensure_future(netlink.touch(PEER, path.ifindex)))

        tasks: list[asyncio.Future[None]] = []
        left.run("sysctl", "-q", "-w", "net.ipv4.neigh.eth0.delay_first_probe_time=0")
        await until(
            netlink,
            touch,
            lambda e: isinstance(e, NeighbourChanged) and e.new is not None and e.new.state == 2,  # REACHABLE
        )
        await asyncio.gather(*tasks)

    on(left, test)


def test_a_touched_neighbour_stays_permanent(hosts: tuple[Host, Host]) -> None:
    left = hosts[0]
    given = "02:00:00:00:00:99"  # not the one that it would answer with

    async def test(netlink: Netlink) -> None:
        path = await netlink.path(PEER)
        await until(
            netlink,
            lambda: left.ip(
                "neigh", "replace", str(PEER), "lladdr", given, "nud", "permanent", "dev", "eth0"
            ),
            lambda e: isinstance(e, NeighbourChanged) and e.new is not None and e.new.is_static,
        )
        await netlink.touch(PEER, path.ifindex)
        assert await netlink.resolve(PEER, path.ifindex) == bytes.fromhex(given.replace(":", ""))
        assert f"{given} PERMANENT" in left.ip("neigh", "show", str(PEER), "dev", "eth0")

    on(left, test)


def test_a_lost_neighbour_is_unresolved(hosts: tuple[Host, Host]) -> None:
    left = hosts[0]

    async def test(netlink: Netlink) -> None:
        path = await netlink.path(PEER)
        await netlink.resolve(PEER, path.ifindex)
        await until(
            netlink,
            lambda: left.ip("neigh", "del", str(PEER), "dev", "eth0"),
            lambda e: isinstance(e, NeighbourChanged) and (e.new is None or not e.new.is_resolved),
        )
        assert (await netlink.path(PEER)).destination_mac is None

    on(left, test)


def test_a_flood_of_events_is_survived_made_good_and_told(
    hosts: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    """ENOBUFS ends pyroute2's reader; ours dumps anew, and goes on hearing."""
    left = hosts[0]

    async def test(netlink: Netlink) -> None:
        def flood() -> None:
            batch = (
                "".join(f"link set eth0 mtu {1300 + i % 50}\n" for i in range(1500))
                + "link set eth0 mtu 1234\n"
            )
            file = left.lab.folder / "batch"
            file.write_text(batch)
            left.run("ip", "-batch", str(file))  # the loop is blocked meanwhile

        in_step: set[bool] = set()

        def is_last(event: Event) -> bool:
            in_step.add(netlink.in_step)
            return isinstance(event, LinkChanged) and event.new is not None and event.new.mtu == 1234

        assert (netlink.in_step, netlink.lost_at) == (True, None)
        before = time.monotonic()
        await until(netlink, flood, is_last)
        assert netlink.overruns >= 1
        assert False in in_step
        assert netlink.lost_at is not None
        assert before < netlink.lost_at < time.monotonic()
        said = [record.levelname for record in caplog.records if "were lost" in record.getMessage()]
        assert said == ["WARNING"]
        await until(
            netlink,
            lambda: left.ip("link", "set", "eth0", "mtu", "1400"),
            lambda e: isinstance(e, LinkChanged) and e.new is not None and e.new.mtu == 1400,
        )
        async with asyncio.timeout(10):
            while not netlink.in_step:
                await asyncio.sleep(0.01)

    on(left, test, event_buffer_size=16 << 10)


def test_what_the_kernel_refuses_is_said_in_its_words(hosts: tuple[Host, Host]) -> None:
    async def test(netlink: Netlink) -> None:
        link = netlink.link("eth0")
        assert link is not None
        with pytest.raises(KernelRefused, match="eth0: set mtu 70000: mtu greater than device maximum"):
            await netlink.set_link(link.index, mtu=70000)
        with pytest.raises(KernelRefused) as refused:
            await netlink.add_address(link.index, "192.0.2.1/24")
        assert refused.value.errno == errno.EEXIST

    on(hosts[0], test)


def test_what_was_asked_for_is_not_kept(hosts: tuple[Host, Host]) -> None:
    """The library keeps the kernel's acknowledgements, some 4 KB each, where nobody looks."""

    async def test(netlink: Netlink) -> None:
        for _ in range(50):
            await netlink.path(PEER)
        assert netlink._requests is not None
        kept = netlink._requests.local.msg_queue.queues
        assert sum(queue.qsize() for queue in kept.values()) <= 2

    on(hosts[0], test)


def test_a_failing_subscriber_does_not_stop_the_others(hosts: tuple[Host, Host]) -> None:
    async def test(netlink: Netlink) -> None:
        def fail(event: Event) -> None:
            raise ValueError("on purpose")

        netlink.subscribe(fail)
        await until(
            netlink,
            lambda: hosts[0].ip("link", "set", "eth0", "mtu", "1400"),
            lambda e: isinstance(e, LinkChanged),
        )

    on(hosts[0], test)


def test_a_namespace_that_is_not_there_is_refused() -> None:
    async def run() -> None:
        netlink = Netlink("vdp-nowhere")
        with pytest.raises(FileNotFoundError):
            await netlink.start()
        await netlink.close()

    asyncio.run(run())
