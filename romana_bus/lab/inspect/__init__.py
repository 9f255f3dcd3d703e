"""Inspects a running lab: pods, pings, traces, and counts of routes."""
