#!/bin/sh
# What a user would let a link monitor call beside lartc.sh: takes a link out of the multipath route, or puts it back.
# The link's table and rules stay, or nobody could find out that it works again. Only for comparison.
#
# Arguments: STATE NAME TARGET INTERFACE, as lsm(1) gives them; STATE is up or down. /run/uplinks: as in lartc.sh.

state=/run/uplinks dead=/run/dead

mkdir -p $dead
case $1 in
up) rm -f "$dead/$4" ;;
down) touch "$dead/$4" ;;
*) exit 0 ;;
esac

set --
for file in "$state"/*; do
    [ -e "$file" ] || continue
    [ ! -e "$dead/${file##*/}" ] || continue
    read -r gateway weight <"$file"
    set -- "$@" nexthop via "$gateway" dev "${file##*/}" weight "$weight"
done
[ $# -eq 0 ] || ip route replace default table 252 "$@"
