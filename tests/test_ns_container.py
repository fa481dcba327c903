"""Root of a user namespace, as in an unprivileged container: it may do with its network as it likes, and has no rights
elsewhere."""

import subprocess

import pytest

from tests.beds import box
from tests.beds.box import boxed

# The kernel's root is not in this namespace, so that nothing but /run can be written. $1: how many links.
CONTAINER = """
mount -t tmpfs -o mode=755 run /run
ip link set lo up
number=0
while [ "$number" -lt "$1" ]; do
    echo "link add eth$number type veth peer name peer$number"
    echo "link set eth$number up"
    echo "link set peer$number up"
    echo "address add 10.100.$number.10/24 dev eth$number"
    number=$((number + 1))
done | ip -batch -
export reason=BOUND interface=eth0 new_ip_address=10.100.0.10 new_subnet_mask=255.255.255.0
new_routers=10.100.0.1 dhcp-lb </dev/null
dhcp-lb apply
dhcp-lb plan
ip -N -4 rule
ip -N -4 route show table 252
dhcp-lb flush
echo then:
ip -N -4 rule
"""


@pytest.mark.skipif(subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode != 0,
                    reason="needs user namespaces, which the kernel gives nobody in a chroot: unshare(2)")
@pytest.mark.parametrize("number", [2, 200])
@boxed
def test_root_of_a_user_namespace_can_do_it_all(number: int) -> None:
    box.CONFIG.write_text("".join(f"eth{link} t{link} {1000 + link} 1 gateway=10.100.{link}.1\n"
                                  for link in range(number)))
    box.CONFIG.chmod(0o644)
    done = subprocess.run(
        ["setpriv", "--reuid=100000", "--regid=100000", "--clear-groups", "unshare", "--user", "--map-root-user",
         "--net", "--mount", "sh", "-ec", CONTAINER, "sh", str(number)],
        env=box.ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    before, _, after = done.stdout.partition("then:\n")
    assert "ip -4 " not in before  # there is no plan left
    for link in range(number):
        assert f"from 10.100.{link}.10 lookup {1000 + link} proto 109" in before.replace("/32", "")
        assert f"nexthop via 10.100.{link}.1 dev eth{link}" in before
    assert "proto 109" not in after
