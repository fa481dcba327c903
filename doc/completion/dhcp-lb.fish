# fish completion for dhcp-lb(8)

function __dhcp_lb_behind -d 'Whether the word at the cursor comes first, or right behind one of these verbs'
    set --local words (commandline --tokenize --current-process --cut-at-cursor)
    if test (count $argv) -eq 0
        test (count $words) -eq 1
    else
        test (count $words) -eq 2; and contains -- $words[2] $argv
    end
end

function __dhcp_lb_links -d 'The interfaces of the links'
    awk '$1 !~ /^#/ && $2 != "=" && NF >= 4 && !/ -> / { print $1 }' /etc/dhcp-lb 2>/dev/null
end

complete -c dhcp-lb -f
complete -c dhcp-lb -n __dhcp_lb_behind -l help -d 'Show the usage'
complete -c dhcp-lb -n __dhcp_lb_behind -l version -d 'Show the version'

complete -c dhcp-lb -n __dhcp_lb_behind -a status -d 'Show the links'
complete -c dhcp-lb -n __dhcp_lb_behind -a plan -d 'Print what apply would do'
complete -c dhcp-lb -n __dhcp_lb_behind -a apply -d 'Bring the routing in line now'
complete -c dhcp-lb -n __dhcp_lb_behind -a check -d 'Check a configuration'
complete -c dhcp-lb -n __dhcp_lb_behind -a explain -d 'Say which link a connection takes'
complete -c dhcp-lb -n __dhcp_lb_behind -a disable -d 'Take a link out at once'
complete -c dhcp-lb -n __dhcp_lb_behind -a drain -d 'Give a link no new connections'
complete -c dhcp-lb -n __dhcp_lb_behind -a enable -d 'Bring a link back'
complete -c dhcp-lb -n __dhcp_lb_behind -a history -d 'Show when links did not work'
complete -c dhcp-lb -n __dhcp_lb_behind -a monitor -d 'Watch the kernel and the providers'
complete -c dhcp-lb -n __dhcp_lb_behind -a flush -d 'Remove all rules and routes'

complete -c dhcp-lb -n '__fish_seen_subcommand_from status' -l json -d 'For programs'
complete -c dhcp-lb -n '__fish_seen_subcommand_from status' -l watch -d 'At each change'
complete -c dhcp-lb -n '__fish_seen_subcommand_from status' -l brief -d 'One line, for monitoring'
complete -c dhcp-lb -n '__fish_seen_subcommand_from check plan' -F
complete -c dhcp-lb -n '__fish_seen_subcommand_from explain' -l from -x \
    -d 'Of a socket bound to an address'
complete -c dhcp-lb -n '__fish_seen_subcommand_from explain' -l dev -x \
    -a '(__dhcp_lb_links)' -d 'Of a socket bound to an interface'
complete -c dhcp-lb -n '__fish_seen_subcommand_from explain' -l in -x \
    -a '(__fish_print_interfaces)' -d 'Of a packet that comes in there'
complete -c dhcp-lb -n '__fish_seen_subcommand_from explain' -l tcp -x -d 'To a port'
complete -c dhcp-lb -n '__fish_seen_subcommand_from explain' -l udp -x -d 'To a port'
complete -c dhcp-lb -n '__fish_seen_subcommand_from explain' -l mark -x -d 'With a firewall mark'
complete -c dhcp-lb -n '__fish_seen_subcommand_from drain' -l wait -d 'Until its connections have ended'
complete -c dhcp-lb -n '__fish_seen_subcommand_from drain' -l cut -d 'End what is left'
complete -c dhcp-lb -n '__dhcp_lb_behind disable drain enable history' -a '(__dhcp_lb_links)'
