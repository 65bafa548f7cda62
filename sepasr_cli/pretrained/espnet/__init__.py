"""Import of ESPnet experiments: settings, then weights, by rules that leave nothing over."""
