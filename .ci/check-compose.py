#!/usr/bin/env python3
"""Check a compose file without an engine: it parses, and every name in it means something.

Needs PyYAML. Usage: check-compose.py docker-compose.yml
"""

import os
import sys

import yaml

SERVICE_KEYS = {"build", "command", "depends_on", "entrypoint", "environment", "expose", "healthcheck", "image", "init",
                "ports", "read_only", "restart", "stop_grace_period", "tmpfs", "user", "volumes", "cap_drop",
                "security_opt"}
TOP_KEYS = {"name", "services", "volumes", "networks"}


def problems(path):
    with open(path, encoding="utf-8") as text:
        compose = yaml.safe_load(text)
    base = os.path.dirname(os.path.abspath(path))
    if not isinstance(compose, dict) or not isinstance(compose.get("services"), dict):
        yield "no services"
        return
    services, volumes = compose["services"], compose.get("volumes") or {}
    for key in set(compose) - TOP_KEYS:
        yield f"unknown top-level key {key}"
    for name, service in services.items():
        for key in set(service) - SERVICE_KEYS:
            yield f"{name}: unknown key {key}"
        if "image" not in service and "build" not in service:
            yield f"{name}: neither image nor build"
        if "build" in service:
            build = service["build"]
            context = os.path.join(base, build if isinstance(build, str) else build.get("context", "."))
            dockerfile = "Dockerfile" if isinstance(build, str) else build.get("dockerfile", "Dockerfile")
            if not os.path.isfile(os.path.join(context, dockerfile)):
                yield f"{name}: no {dockerfile} in the build context"
        for volume in service.get("volumes", []):
            if not isinstance(volume, str) or ":" not in volume:
                yield f"{name}: volume {volume!r} is not source:target[:mode]"
                continue
            source = volume.split(":")[0]
            if source.startswith("."):
                if not os.path.exists(os.path.join(base, source)):
                    yield f"{name}: {source} does not exist"
            elif source not in volumes:
                yield f"{name}: volume {source} is not declared"
        for port in service.get("ports", []):
            if not isinstance(port, str) or not port.startswith("127.0.0.1:") or port.count(":") != 2:
                yield f"{name}: port {port!r} is not \"127.0.0.1:HOST:CONTAINER\""
        health = service.get("healthcheck")
        if health is not None and (not isinstance(health.get("test"), list) or health["test"][0] not in ("CMD", "CMD-SHELL")):
            yield f"{name}: healthcheck.test is not a list that begins with CMD or CMD-SHELL"
        depends = service.get("depends_on", {})
        for other in depends:
            if other not in services:
                yield f"{name}: depends on {other}, which is no service"
            elif isinstance(depends, dict) and depends[other].get("condition") == "service_healthy" \
                    and "healthcheck" not in services[other]:
                yield f"{name}: waits for {other} to be healthy, which has no health check"
        for key, value in (service.get("environment") or {}).items():
            if not isinstance(value, str):
                yield f"{name}: environment {key} is not a quoted string"


def main():
    found = list(problems(sys.argv[1]))
    for problem in found:
        print(f"{sys.argv[1]}: {problem}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
