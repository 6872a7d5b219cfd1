# Says what it finds, one line each; counts its starts in its state directory; dies of a signal once if asked.
b=/usr/bin/busybox
starts=$($b cat "$STATE_DIRECTORY/starts" 2>/dev/null || echo 0)
starts=$((starts + 1))
echo "$starts" > "$STATE_DIRECTORY/starts.new"
$b mv "$STATE_DIRECTORY/starts.new" "$STATE_DIRECTORY/starts"
$b sync
echo "start $starts of probe"
echo "level is $LEVEL"
echo "host is $($b hostname)"
for file in $($b find /run/settings -type f 2>/dev/null); do
  echo "file $file $($b stat -c '%a %u:%g' "$file") $($b sha256sum < "$file" | $b cut -c1-16)"
done
$b touch /run/settings/mine 2>/dev/null && echo "settings can be written to"
$b mount | $b grep -q '/state ' && echo "state is $($b mount | $b grep ' /state ' | $b cut -d' ' -f5)"
$b ip -4 -o addr show 2>/dev/null | $b awk '{print "address " $4}'
if [ "$CRASH" = once ] && [ ! -e "$STATE_DIRECTORY/crashed" ]; then
  echo yes > "$STATE_DIRECTORY/crashed"
  $b sync
  echo "now it dies"
  kill -SEGV $$
fi
echo "probe waits"
exec $b sleep 100000
