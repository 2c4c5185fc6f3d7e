"""How pellucid gets onto machines: wheels for those without a network, containers, a unit for systemd."""
