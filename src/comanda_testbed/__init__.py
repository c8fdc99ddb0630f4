"""An AWS account on loopback, to rehearse a deployment in: two emulators, and what both of them lack."""
