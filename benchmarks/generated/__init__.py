"""Reports that networks trained here wrote: two ways to more variety, measured by benchmarks.levers."""
