"""The HTTP side: triggers, runs, health, metrics. It calls what `service.wiring` built and decides nothing itself."""
