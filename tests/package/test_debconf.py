"""Who writes what into /etc/dhcp-lb: debconf, the administrator, preseeding, upgrades."""

from __future__ import annotations

from pathlib import Path

from .conftest import FILE, PRESEED, PROTOCOLS, SHIPPED, TABLES, Machine

LINKS = "eth0 table-eth0 200 1\neth1 table-eth1 201 2\n"
CHECK = "Addresses that tell whether a link works:"


def links(machine: Machine) -> str:
    """The lines of the file that are not as shipped."""
    shipped = machine.text(SHIPPED).splitlines()
    return "".join(f"{line}\n" for line in machine.text().splitlines() if line not in shipped)


def install_with_links(machine: Machine) -> None:
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install()


def test_without_answers_the_file_is_as_shipped_and_the_log_says_how_to_go_on(machine: Machine) -> None:
    said = machine.install()
    assert machine.text() == machine.text(SHIPPED)
    assert "dpkg-reconfigure dhcp-lb" in said
    machine.run("dhcp-lb", "check")
    assert not machine.path(TABLES).exists()
    assert machine.path(FILE).stat().st_mode & 0o7777 == 0o644


def test_the_example_of_preseeding_gives_its_two_links(machine: Machine) -> None:
    install_with_links(machine)
    assert links(machine) == LINKS
    machine.run("dhcp-lb", "check")
    assert "table-eth1" in machine.text(TABLES)
    assert "dhcp-lb" in machine.text(PROTOCOLS)
    machine.run("ip", "rule", "add", "lookup", "table-eth0")  # ip(8) knows the name


def test_where_etc_iproute2_cannot_be_written_the_numbers_serve(machine: Machine) -> None:
    machine.sh("mkdir -p /etc/iproute2; mount -t tmpfs -o ro names /etc/iproute2")
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    said = machine.install()
    assert "ip(8) shows our tables by number" in said and "Traceback" not in said
    assert links(machine) == LINKS


def test_names_alone_get_free_tables_and_weight_1(machine: Machine) -> None:
    machine.sh("""
        mkdir -p /etc/iproute2/rt_tables.d
        echo '200 mine' >/etc/iproute2/rt_tables.d/mine.conf
        printf '0xca hexed\n0xzz bad\n0x bad\n2+3 bad\n' >>/etc/iproute2/rt_tables.d/mine.conf
        ip link add cable type bridge
        ip link set cable up
        ip route add 192.0.2.0/24 dev cable table 203
        ip rule add from 192.0.2.1 lookup 204""")
    machine.preseed("interfaces multiselect eth0, wlan0")
    machine.install()
    assert links(machine) == "eth0 table-eth0 201 1\nwlan0 table-wlan0 205 1\n"


def test_a_bad_preseed_is_refused_with_a_message_and_the_installation_goes_on(machine: Machine) -> None:
    for line, message in [
        ("eth0/weight string heavy", "weight heavy"),
        ("eth0/table-id string 254", "table id 254"),
        ("eth1/table-id string 200", "table id 200 is already"),
    ]:
        machine.preseed("interfaces multiselect eth0, eth1", "eth0/table-id string 200",
                        "eth1/table-id string 201", "eth0/weight string 1", line)
        assert message in machine.install()
        assert machine.text() == machine.text(SHIPPED)
        machine.quietly("dpkg", "--purge", "dhcp-lb")


def test_reconfigured_without_a_change_the_file_is_untouched(machine: Machine) -> None:
    install_with_links(machine)
    before = machine.path(FILE).stat()
    for _ in range(2):
        machine.quietly("dpkg-reconfigure", "dhcp-lb")
        after = machine.path(FILE).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_edit_and_its_comments_outlive_an_upgrade_and_debconf_follows(
    machine: Machine, old_deb: Path
) -> None:
    machine.put(old_deb, "/old")
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install("/old")
    edited = "# mine\neth0\ttable-eth0 200 7 # fast\nusb0 modem 300 2 gateway=192.0.2.1\nbalance-table = up 250\n"
    for argv in (["dpkg", "-i", "/deb"], ["dpkg-reconfigure", "dhcp-lb"]):
        machine.path(FILE).write_text(edited)
        machine.quietly(*argv)
        assert machine.text() == edited
        answers = machine.answers()
        assert answers["dhcp-lb/interfaces"] == "eth0, usb0"
        assert answers["dhcp-lb/eth0/weight"] == "7"
        assert answers["dhcp-lb/usb0/table-id"] == "300"
    assert "modem" in machine.text(TABLES) and "up" in machine.text(TABLES)


def test_a_deleted_file_stays_deleted(machine: Machine, old_deb: Path) -> None:
    machine.put(old_deb, "/old")
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install("/old")
    machine.path(FILE).unlink()
    said = machine.install()
    assert not machine.path(FILE).exists()
    assert "UCF_FORCE_CONFFMISS=1 dpkg-reconfigure dhcp-lb" in said
    machine.quietly("env", "UCF_FORCE_CONFFMISS=1", "dpkg-reconfigure", "dhcp-lb")
    assert links(machine) == LINKS


def test_removed_and_installed_again_the_file_is_kept(machine: Machine) -> None:
    install_with_links(machine)
    machine.path(FILE).write_text(machine.text() + "# mine\n")
    machine.quietly("dpkg", "--remove", "dhcp-lb")
    assert machine.text().endswith("# mine\n")
    machine.install()
    assert machine.text().endswith("# mine\n")
    assert links(machine) == LINKS + "# mine\n"


def test_a_file_that_was_there_before_the_package_wins(machine: Machine) -> None:
    machine.path(FILE).write_text("eth5 five 205 5\n")
    machine.preseed("interfaces multiselect eth0")
    machine.install()
    assert machine.text() == "eth5 five 205 5\n"


# On a terminal.

INTERFACES = """\
auto lo
iface lo inet loopback
source more/*.conf
iface eth0 inet dhcp
iface eth1 inet static
    address 192.0.2.2/24
"""


def test_offered_are_the_links_that_are_configured_for_dhcp(machine: Machine) -> None:
    machine.sh("mkdir -p /etc/network/more")
    machine.path("/etc/network/interfaces").write_text(INTERFACES)
    machine.path("/etc/network/more/wifi.conf").write_text("iface wlan0 \\\n  inet dhcp\niface eth0 inet dhcp\n")
    machine.path("/etc/network/more/notes").write_text("iface eth9 inet dhcp\n")
    machine.sh("""
        ip link add eth7 type bridge
        ip address add 198.51.100.7/24 dev eth7 valid_lft 3600 preferred_lft 3600
        ip link add eth8 type bridge
""")
    machine.path("/var/lib/dhcp/dhclient.leases").write_text('lease {\n  interface "eth8";\n  interface "gone";\n}\n')
    shown = machine.converse(["dpkg", "-i", "/deb"], [("Internet links to balance:", "1 2")])
    choices = [line.split() for line in shown.splitlines() if line.startswith("  1.")]
    assert choices == ["1. wlan0 2. eth0 3. eth8 4. eth7".split()]
    assert links(machine) == "wlan0 table-wlan0 200 1\neth0 table-eth0 201 1\n"


def test_a_bad_answer_is_explained_and_asked_again(machine: Machine) -> None:
    machine.path("/etc/network/interfaces").write_text("iface eth0 inet dhcp\niface eth1 inet dhcp\n")
    machine.preseed("interfaces multiselect")
    machine.install()
    shown = machine.converse(["dpkg-reconfigure", "dhcp-lb"], [
        ("Internet links to balance:", "1 2"),
        ("Routing table of eth0:", "254"),
        ("Weight of eth0:", "1"),
        ("Routing table of eth0:", "two hundred"),
        ("Weight of eth0:", "1"),
        ("Routing table of eth0:", "4294967296"),
        ("Weight of eth0:", "1"),
        ("Routing table of eth0:", "200"),
        ("Weight of eth0:", "much"),
        ("Routing table of eth0:", "200"),
        ("Weight of eth0:", "3"),
        ("Routing table of eth1:", "200"),
        ("Weight of eth1:", "1"),
        ("Routing table of eth1:", "252"),
        ("Weight of eth1:", "1"),
        ("Routing table of eth1:", "207"),
        ("Weight of eth1:", "1"),
        (CHECK, ""),
    ])
    for message in ['Table number "254" of eth0 is not valid', 'Table number "two hundred" of eth0 is not valid',
                    'Table number "4294967296" of eth0 is not valid', 'Weight "much" of eth0 is not valid',
                    "Table number 200 of eth1 is taken", "in use already: eth0.",
                    "Table number 252 of eth1 is taken", "in use already: balance-table."]:
        assert message in shown
    assert links(machine) == "eth0 table-eth0 200 3\neth1 table-eth1 207 1\n"


def test_an_empty_answer_is_the_default(machine: Machine) -> None:
    """This frontend shows none."""
    machine.path("/etc/network/interfaces").write_text("iface eth0 inet dhcp\niface eth1 inet dhcp\n")
    machine.preseed("interfaces multiselect")
    machine.install()
    machine.converse(["dpkg-reconfigure", "dhcp-lb"], [
        ("Internet links to balance:", "1 2"),
        ("Routing table of eth0:", "200"),
        ("Weight of eth0:", ""),
        ("Routing table of eth1:", ""),
        ("Weight of eth1:", "2"),
        (CHECK, ""),
    ])
    assert links(machine) == "eth0 table-eth0 200 1\neth1 table-eth1 201 2\n"


def test_a_number_that_is_taken_by_now_is_asked_for_although_its_priority_is_low(machine: Machine) -> None:
    machine.path("/etc/network/interfaces").write_text("iface eth0 inet dhcp\n")
    machine.sh("mkdir -p /etc/iproute2/rt_tables.d; echo 200 mine >/etc/iproute2/rt_tables.d/mine.conf")
    machine.preseed("eth0/table-id string 200")
    shown = machine.converse(["dpkg", "-i", "/deb"], [("Internet links to balance:", "1"),
                                                      ("Routing table of eth0:", "207")])
    assert "in use already: /etc/iproute2/rt_tables.d/mine.conf." in shown
    assert links(machine) == "eth0 table-eth0 207 1\n"


def test_a_number_of_the_file_is_good_whoever_else_names_it(machine: Machine) -> None:
    """iproute2's own file, as in 2009, or the kernel from before."""
    machine.sh("""
        mkdir -p /etc/iproute2
        echo '200 table-eth0' >>/etc/iproute2/rt_tables
        ip rule add from 192.0.2.10 lookup 201""")
    machine.path(FILE).write_text(LINKS)
    machine.converse(["dpkg", "--force-confold", "-i", "/deb"], [])
    assert machine.text() == LINKS
    machine.run("dhcp-lb", "check")


def test_interfaces_that_include_each_other_in_a_circle(machine: Machine) -> None:
    machine.path("/etc/network/interfaces").write_text(
        "source interfaces\nsource interfaces.d/*\niface eth5 inet dhcp\n")
    machine.sh("echo 'source /etc/network/interfaces.d/*' >/etc/network/interfaces.d/again")
    machine.converse(["dpkg", "-i", "/deb"], [("Internet links to balance:", "1")])
    assert links(machine) == "eth5 table-eth5 200 1\n"


def test_reconfigure_adds_a_link_with_its_table(machine: Machine) -> None:
    machine.path("/etc/network/interfaces").write_text("iface wlan0 inet dhcp\n")
    install_with_links(machine)
    machine.converse(["dpkg-reconfigure", "-phigh", "dhcp-lb"], [("Internet links to balance:", "1 2 3")])
    assert links(machine) == LINKS + "wlan0 table-wlan0 202 1\n"
    assert "table-wlan0" in machine.text(TABLES)


def test_a_change_through_debconf_after_an_edit_is_asked_for_by_ucf(machine: Machine) -> None:
    install_with_links(machine)
    edited = machine.text() + "# mine\n"
    for answer, weight in [("install the package maintainer's version", 8),
                           ("keep the local version currently installed", 9)]:
        machine.path(FILE).write_text(edited)
        shown = machine.converse(["dpkg-reconfigure", "dhcp-lb"], [
            ("Internet links to balance:", "1 2"),
            ("Routing table of eth0:", "200"),
            ("Weight of eth0:", str(weight)),
            ("Routing table of eth1:", "201"),
            ("Weight of eth1:", "2"),
            (CHECK, ""),
            ("What do you want to do about modified configuration file", "1" if weight == 8 else "2"),
        ])
        assert answer in shown
        if weight == 8:
            assert machine.text() == edited.replace("\neth0 table-eth0 200 1", "\neth0 table-eth0 200 8")
        else:
            assert machine.text() == edited
            assert "stays as it was" in shown


# Who is asked whether a link works.

def test_targets_that_are_preseeded_are_in_the_file(machine: Machine) -> None:
    machine.preseed("check string  198.51.100.7 203.0.113.9, ")
    install_with_links(machine)
    assert links(machine) == LINKS + "check = 198.51.100.7,203.0.113.9\n"
    machine.run("dhcp-lb", "check")


def test_targets_that_make_no_sense_are_refused_with_a_message(machine: Machine) -> None:
    machine.preseed("check string 300.1.1.1")
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    assert "300.1.1.1" in machine.install()
    assert machine.text() == machine.text(SHIPPED)


def test_the_targets_of_the_file_are_shown_and_an_empty_answer_takes_none_away(machine: Machine) -> None:
    install_with_links(machine)
    own = "check  = lease,198.51.100.7   # mine\n"
    machine.path(FILE).write_text(machine.text() + own)
    machine.quietly("dpkg-reconfigure", "dhcp-lb")
    assert machine.answers()["dhcp-lb/check"] == "lease,198.51.100.7"
    assert links(machine) == LINKS + own
    answers = [("Internet links to balance:", "1 2"), ("Routing table of eth0:", ""), ("Weight of eth0:", ""),
               ("Routing table of eth1:", ""), ("Weight of eth1:", "2")]
    machine.converse(["dpkg-reconfigure", "dhcp-lb"], [*answers, (CHECK, "")])
    assert links(machine) == LINKS + own
    machine.path(FILE).write_text(machine.text().replace(own, ""))  # an administrator may take it away, though
    machine.quietly("dpkg-reconfigure", "dhcp-lb")
    assert links(machine) == LINKS and not machine.answers()["dhcp-lb/check"]


def test_the_targets_are_asked_for_with_low_priority_and_after_the_links(machine: Machine) -> None:
    machine.path("/etc/network/interfaces").write_text("iface eth0 inet dhcp\niface eth1 inet dhcp\n")
    install_with_links(machine)
    assert links(machine) == LINKS
    answers = [("Internet links to balance:", "1 2"), ("Routing table of eth0:", ""), ("Weight of eth0:", ""),
               ("Routing table of eth1:", ""), ("Weight of eth1:", "2")]
    shown = machine.converse(["dpkg-reconfigure", "-pmedium", "dhcp-lb"], [
        reply for reply in answers if "table" not in reply[0]])
    assert CHECK not in shown and links(machine) == LINKS
    machine.converse(["dpkg-reconfigure", "dhcp-lb"], [*answers, (CHECK, "198.51.100.7, 203.0.113.9")])
    assert links(machine) == LINKS + "check = 198.51.100.7,203.0.113.9\n"


def test_every_question_is_there_in_spanish(machine: Machine) -> None:
    machine.install()
    templates = machine.text("/var/lib/dpkg/info/dhcp-lb.templates").strip().split("\n\n")
    assert len(templates) == 7
    for template in templates:
        assert "\nDescription-es.UTF-8: " in template
