"""RoleBasedGroup operator for Kubernetes: runtime, controllers, webhooks and the kubectl plugin."""

__version__ = "0.1.0"
