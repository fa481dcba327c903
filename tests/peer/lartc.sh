#!/bin/sh
# What a careful user's dhclient exit hook looks like, written after the LARTC guide ("Routing for multiple
# uplinks/providers"): a table and rules for each link and one multipath, as dhcp-lb's, with one ip(8) process for each
# command. Only for comparison: it takes no lock, checks nothing that a server says, and is half done when it is
# killed.
#
# /etc/uplinks: INTERFACE TABLE WEIGHT, a line for each link. /run/uplinks/INTERFACE: GATEWAY WEIGHT of a link in use.
# shellcheck disable=SC2154  # dhclient sets the new_* variables

balance=252
state=/run/uplinks

while read -r link number share; do
    if [ "$link" = "${interface-}" ]; then
        table=$number weight=$share
    fi
done </etc/uplinks
[ -n "${table-}" ] || exit 0
[ -d $state ] || mkdir $state

case "${reason-}" in
BOUND|RENEW|REBIND|REBOOT|TIMEOUT)
    gateway=${new_routers%% *} network=$new_network_number/$new_subnet_mask
    echo "$gateway $weight" >"$state/$interface"

    ip route flush table "$table" 2>/dev/null
    ip route add "$network" dev "$interface" src "$new_ip_address" scope link table "$table"
    ip route add default via "$gateway" dev "$interface" src "$new_ip_address" table "$table"

    ip rule del pref 19900 table "$table" 2>/dev/null
    ip rule add pref 19900 from "$new_ip_address" to "$network" table "$table"
    ip rule add pref 20000 from all table main suppress_prefixlength 0 2>/dev/null
    ip rule del pref 20100 table "$table" 2>/dev/null
    ip rule add pref 20100 from "$new_ip_address" table "$table"
    ip rule del pref 20200 table "$table" 2>/dev/null
    ip rule add pref 20200 oif "$interface" table "$table"
    ip rule add pref 32765 from all table $balance 2>/dev/null

    ip route replace default via "$gateway" dev "$interface" src "$new_ip_address" metric "$((1000 + table))" \
        table $balance
    ;;
EXPIRE|FAIL|RELEASE|STOP)
    rm -f "$state/$interface"
    ip route flush table "$table"
    for pref in 19900 20100 20200; do
        ip rule del pref $pref table "$table"
    done
    ip route del default metric "$((1000 + table))" table $balance
    ;;
*)
    exit 0
    ;;
esac

set --
for file in "$state"/*; do
    [ -e "$file" ] || continue
    read -r gateway weight <"$file"
    set -- "$@" nexthop via "$gateway" dev "${file##*/}" weight "$weight"
done
if [ $# -gt 0 ]; then
    ip route replace default table $balance "$@"
else
    ip route del default metric 0 table $balance
fi
