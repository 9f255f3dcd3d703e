"""For people and programs: usage, exhaustion, growth, forecasts, lookup. Changes nothing."""
