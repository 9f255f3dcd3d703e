"""Reads the state for people and programs: views, exhaustion, growth, forecasts, lookup. Changes nothing."""
