"""Open vSwitch with its user-space datapath, in a host of the laboratory.

Two netdev bridges: `br-phy` owns the underlay port and address (the tunnels' outer
packets take its way), `br-int` has the tunnel.  What is behind the tunnel is the
internal port `br-int` itself, a TAP with an address: an L3 tunnel (`legacy_l3`) gets
and gives IP packets there through flows that pop and push the Ethernet header.

Everything runs in folders of the laboratory, with sockets of its own; it ends with it.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab import Host, wait_for

_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_NETDEV = ("datapath_type=netdev", "fail-mode=standalone")


class OvsPeer:
    """One Open vSwitch; `interface` is the host's underlay device, with an address."""

    def __init__(self, host: Host, interface: str, address: str) -> None:
        self.host = host
        self.folder = host.lab.folder / f"ovs-{host.name}"
        self.folder.mkdir()
        self._database = f"unix:{self.folder}/db.sock"
        self._control = ""
        self._start()
        self._make_underlay(interface, address)

    def vsctl(self, *arguments: str) -> str:
        return self.host.run("ovs-vsctl", f"--db={self._database}", "--timeout=10", *arguments)

    def appctl(self, *arguments: str) -> str:
        return self.host.run("ovs-appctl", "-t", self._control, *arguments)

    def ofctl(self, *arguments: str) -> str:
        """Flows of br-int."""
        command, *rest = arguments
        return self.host.run("ovs-ofctl", command, f"unix:{self.folder}/br-int.mgmt", *rest)

    def add_tunnel(
        self,
        remote: str,
        address: str,
        *,
        layer3: bool = False,
        key: int | None = None,
        csum: bool = False,
        mtu: int = 1450,
    ) -> None:
        """A `gre` port to `remote`; `address` (with prefix length) is this end's inside the tunnel.

        layer3: a plain GRE tunnel of IP packets (packet_type legacy_l3), else gretap.
        """
        options = [
            f"options:remote_ip={remote}",
            "options:packet_type=" + ("legacy_l3" if layer3 else "legacy_l2"),
        ]
        options += [f"options:key={key}"] if key is not None else []
        options += ["options:csum=true"] if csum else []
        self.vsctl(
            "add-br", "br-int", "--", "set", "bridge", "br-int", *_NETDEV,
            "--", "add-port", "br-int", "tun0", "--", "set", "interface", "tun0", "type=gre",
            "ofport_request=10", *options,
        )  # fmt: skip
        self.host.ip("address", "add", address, "dev", "br-int")
        self.host.ip("link", "set", "br-int", "mtu", str(mtu), "up")
        if layer3:
            self._join_layer3()

    def _join_layer3(self) -> None:
        """NORMAL leaves L3 ports out: packets go straight between tunnel and br-int, without ARP."""
        self.host.ip("link", "set", "br-int", "arp", "off")
        mac = self.host.run("cat", "/sys/class/net/br-int/address").strip()
        self.ofctl("add-flow", "in_port=LOCAL,ip,actions=output:10")
        self.ofctl("add-flow", f"in_port=10,ip,actions=mod_dl_dst:{mac},LOCAL")

    def _start(self) -> None:
        database = self.folder / "conf.db"
        self.host.run("ovsdb-tool", "create", str(database), _SCHEMA)
        self.host.start(
            "ovsdb-server", str(database), f"--remote=p{self._database}",
            f"--pidfile={self.folder}/ovsdb-server.pid", f"--unixctl={self.folder}/ovsdb-server.ctl",
            "--no-chdir", "-vconsole:warn", OVS_RUNDIR=str(self.folder),
        )  # fmt: skip
        wait_for("ovsdb-server", (self.folder / "db.sock").exists)
        self.host.run("ovs-vsctl", f"--db={self._database}", "--no-wait", "init")
        self._control = f"{self.folder}/ovs-vswitchd.ctl"
        self.host.start(
            "ovs-vswitchd", self._database, f"--pidfile={self.folder}/ovs-vswitchd.pid",
            f"--unixctl={self._control}", "--no-chdir", "-vconsole:warn", OVS_RUNDIR=str(self.folder),
        )  # fmt: skip
        wait_for("ovs-vswitchd", Path(self._control).exists)

    def _make_underlay(self, interface: str, address: str) -> None:
        # The kernel would answer ARP for the address on the bridge's member, too, with its MAC.
        self.host.run("sysctl", "-q", "-w", "net.ipv4.conf.all.arp_ignore=1")
        self.vsctl(
            "add-br", "br-phy", "--", "set", "bridge", "br-phy", *_NETDEV,
            "--", "add-port", "br-phy", interface,
        )  # fmt: skip
        self.host.ip("address", "add", address, "dev", "br-phy")
        self.host.ip("link", "set", "br-phy", "up")
