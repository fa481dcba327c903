#!/bin/sh
# The same routing as lartc.sh's, as lean as an exit hook of dhclient can be written by hand: twelve ip(8) processes
# for an event and no other process. It removes no more than it must: the kernel deletes the routes of an address
# together with the address. Only for comparison: it takes no lock, checks nothing that a server says, and is half done
# when it is killed.
#
# /etc/uplinks: INTERFACE TABLE WEIGHT, a line a link. /run/uplinks/INTERFACE: the nexthop of a link in use.
# shellcheck disable=SC2154  # dhclient sets the new_* variables

balance=252
state=/run/uplinks

case $reason in
BOUND|RENEW|REBIND|REBOOT|TIMEOUT) up=1 ;;
EXPIRE|FAIL|RELEASE|STOP) up='' ;;
*) exit 0 ;;
esac
[ -d $state ] || mkdir $state

set --
while read -r link number weight; do
    if [ "$link" = "$interface" ]; then
        table=$number gateway=${new_routers%% *}
        if [ "$up" ]; then
            echo "nexthop via $gateway dev $link weight $weight" >$state/"$link"
        else
            rm -f $state/"$link"
        fi
    fi
    if [ -e $state/"$link" ]; then
        read -r nexthop <$state/"$link"
        # shellcheck disable=SC2086  # words of ip(8)
        set -- "$@" $nexthop
    fi
done </etc/uplinks
[ "$table" ] || exit 0

for pref in 19900 20100 20200; do
    ip rule del pref $pref table "$table"
done 2>/dev/null
if [ "$up" ]; then
    ip route replace "$new_network_number/$new_subnet_mask" dev "$interface" src "$new_ip_address" scope link \
        table "$table"
    ip route replace default via "$gateway" dev "$interface" src "$new_ip_address" table "$table"
    ip route replace default via "$gateway" dev "$interface" src "$new_ip_address" metric $((1000 + table)) \
        table $balance
    ip rule add pref 19900 from "$new_ip_address" to "$new_network_number/$new_subnet_mask" table "$table"
    ip rule add pref 20000 table main suppress_prefixlength 0 2>/dev/null
    ip rule add pref 20100 from "$new_ip_address" table "$table"
    ip rule add pref 20200 oif "$interface" table "$table"
    ip rule add pref 32765 table $balance 2>/dev/null
else
    ip route flush table "$table"
    ip route del default metric $((1000 + table)) table $balance
fi
if [ $# -gt 0 ]; then
    ip route replace default table $balance "$@"
else
    ip route del default metric 0 table $balance
fi
