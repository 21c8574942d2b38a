"""Why vdp does not run, or not well: the machine, the configuration on it, and the daemon that runs.

`vdp doctor` runs all checks, `vdp check --live` those of a configuration.  They read and change nothing.
"""
