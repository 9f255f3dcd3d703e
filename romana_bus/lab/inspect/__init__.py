"""Looking at a running lab: pods, pings, traces, and how many routes there are."""
