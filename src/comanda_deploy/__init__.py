"""What runs on the operator's machine: an AWS account planned, built, checked and taken down."""
