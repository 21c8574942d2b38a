"""Configuration: TOML in, a checked Config out, or every problem with its line.

Used by vdp.daemon, `vdp check`, and plugins for the types of their parameters
(vdp.config.values).  docs/configuration.md is written from the models here.
"""

from vdp.config.load import load
from vdp.config.model import (
    BridgeSection,
    Config,
    ConnectSection,
    ControlSection,
    EngineSection,
    LinkKindInfo,
    LinkSection,
    LogSection,
    MetricsSection,
    PluginsSection,
    PortSection,
    RouteSection,
    RuleSection,
)
from vdp.config.problem import ConfigError, PluginsFailed, Problem

__all__ = [
    "BridgeSection",
    "Config",
    "ConfigError",
    "ConnectSection",
    "ControlSection",
    "EngineSection",
    "LinkKindInfo",
    "LinkSection",
    "LogSection",
    "MetricsSection",
    "PluginsFailed",
    "PluginsSection",
    "PortSection",
    "Problem",
    "RouteSection",
    "RuleSection",
    "load",
]
