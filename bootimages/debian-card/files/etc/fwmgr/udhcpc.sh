#!/bin/busybox sh
# Called by udhcpc with what happened as the argument and the lease in the environment. Sets the interface up
# and leaves the lease in a file for the agent. A lease that is lost takes the file with it. Addresses and name
# of the slot's settings, which the agent leaves in files, stay whatever the lease does.

# udhcpc gives the lease time in seconds as $lease.
lease_seconds=$lease
file=/run/fwmgr/lease.env

flush() {
  busybox ip -4 addr flush dev "$interface"
  [ -e /run/fwmgr/addresses ] || return
  while read -r address; do
    case "$address" in *:*) ;; *) busybox ip addr add "$address" dev "$interface" ;; esac
  done < /run/fwmgr/addresses
}

case "$1" in
  deconfig)
    busybox rm -f "$file"
    flush
    busybox ip link set "$interface" up
    ;;
  bound|renew)
    if ! busybox ip -4 -o addr show dev "$interface" | busybox awk '{print $4}' | busybox grep -qxF "$ip/$mask"; then
      flush
      busybox ip addr add "$ip/$mask" broadcast + dev "$interface"
    fi
    for gateway in $router; do
      busybox ip route replace default via "$gateway" dev "$interface"
      break
    done
    # A name from the network goes no further than letters, digits, dot and hyphen.
    name=$(busybox printf %s "$hostname" | busybox tr -cd 'A-Za-z0-9.-')
    [ -n "$name" ] && [ ! -e /run/fwmgr/hostname ] && busybox hostname "$name"
    busybox mkdir -p "${file%/*}"
    {
      busybox echo "interface=$interface"
      busybox echo "ip=$ip"
      busybox echo "subnet=$subnet"
      busybox echo "router=$router"
      busybox echo "siaddr=$siaddr"
      busybox echo "serverid=$serverid"
      busybox echo "lease=$lease_seconds"
      busybox echo "hostname=$name"
    } > "$file.new"
    busybox mv "$file.new" "$file"
    ;;
esac
