#!/bin/sh
# Promote a version from any pipeline: release.sh SERVICE VERSION NAMESPACE
set -eu
service=$1 version=$2 namespace=$3
strategy=${STRATEGY:-canary}

rollout check "$service" -n "$namespace" --strategy "$strategy"

# A signal reaches this shell alone: hand it on, so that the traffic goes back, and stay until it has.
rollout promote "$service" --to "$version" -n "$namespace" --strategy "$strategy" --timeout 2h &
promotion=$! stopped=yes code=0
trap 'stopped=yes; kill -TERM "$promotion"' TERM INT HUP
while [ "$stopped" ]; do
  stopped='' code=0
  wait "$promotion" || code=$?
done

rollout report "$service" -n "$namespace" --file report.html || echo "no report was written"
case $code in
  0) echo "$service $version serves" ;;
  1) echo "$service $version did harm, and was taken back: see report.html" ;;
  2 | 3) echo "the command, the cluster or a right is at fault: see above" ;;
  4) echo "$service $version was taken back unproven: see report.html" ;;
  *) echo "interrupted ($code): see rollout status $service -n $namespace" ;;
esac
exit "$code"
