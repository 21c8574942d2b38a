"""A configuration that is read anew while packets pass: `vdp reload`, SIGHUP.

    file ─► checked as a whole ─► plan: what differs from what runs ─► applied step by step
              │ wrong                │ needs a restart                   │ a step fails
              └── nothing changes ◄──┘                                   └─► the steps before are undone

plan.py finds the difference and touches nothing, apply.py carries it out, reload.py is the
whole way and what is said of it.  What the plan does not name keeps its sockets, devices,
counters and flows.
"""
