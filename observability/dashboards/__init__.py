"""What people look at beyond this machine: a Grafana dashboard, and alerts for Prometheus.

`uploads.json` is imported into Grafana as it is, `alerts.yml` is named under `rule_files` of Prometheus. The dashboard
is made by `python -m observability.dashboards`, which needs the development requirements.
"""
