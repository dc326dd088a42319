"""The Open Inference Protocol over HTTP: `/v2`. What it answers is `appliance.inference`'s."""
