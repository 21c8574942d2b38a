"""The dashboards: one description of panels, and what is made from it for Grafana and for Prometheus itself.

`panel` has the words a description is made of; `overview`, `links` and `performance` are the
descriptions; `grafana` and `console` make etc/grafana and etc/prometheus/consoles from them
(`python -m tools.dashboards write`); `site` and `show` are `make dashboards`: vdp under traffic and
faults with a Prometheus beside it.
"""
