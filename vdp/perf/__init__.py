"""What packets cost, and where: `vdp perf show`.

`vdp.perf.method` is the control method, `vdp.perf.look` what is read at one moment, `vdp.perf.report`
what two such moments say.
"""
