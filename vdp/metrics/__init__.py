"""Prometheus metrics: read from the datapath when they are asked for, kept nowhere else."""
