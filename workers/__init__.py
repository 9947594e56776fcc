"""Where and when it runs, and who asks: jobs, executors, the report, the command line. No mathematics."""
