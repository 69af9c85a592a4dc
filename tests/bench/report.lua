-- SPDX-License-Identifier: ISC
-- For wrk: what it does not print by itself, in one line.
done = function(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
	    "REPORT %d %d %d %d %d %d\n", summary.requests, summary.duration,
	    e.connect + e.read + e.write + e.status + e.timeout,
	    latency:percentile(50), latency:percentile(99),
	    latency:percentile(99.9)))
end
