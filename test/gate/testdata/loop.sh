#!/bin/bash
# The loop that the gate takes the place of, written anew after its post-mortem, with its checks and its mistakes: whatever kubectl does not
# print is taken for well. It makes $CYCLES cycles without a pause; RAW, GATED and KUBECONFIG are files.
for ((i = 1; i <= CYCLES; i++)); do
	if [ ! -e "$RAW" ]; then
		rm -f "$GATED"
		continue
	fi
	blocked=
	if [ "$(kubectl get nodes --no-headers 2>/dev/null | grep -vcw Ready)" -ne 0 ]; then
		blocked=nodes
	fi
	if [ "$(kubectl get pods -n calico-system -l k8s-app=calico-node --no-headers 2>/dev/null | grep -vc Running)" -ne 0 ]; then
		blocked=calico
	fi
	day_ago=$(date -u -d '-1 day' +%FT%TZ)
	while read -r changed; do
		if [[ $changed > $day_ago ]]; then
			blocked=soak
		fi
	done < <(kubectl get nodes -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="Ready")].lastTransitionTime}{"\n"}{end}' 2>/dev/null)
	if [ -z "$blocked" ]; then
		touch "$GATED"
		echo "iter $i: ALL CHECKS PASSED"
	else
		rm -f "$GATED"
		echo "iter $i: blocked by $blocked"
	fi
done
