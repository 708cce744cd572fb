"""The certificates of the webhook server: made, kept in a Secret, renewed while running, and trusted by the API server.

in    a Secret that every replica may read, two CRDs and a webhook configuration
out   files for the server, the Secret kept good, caBundles that trust every certificate that is served

`lifetimes`, `authority`, `rotation` and the patches of `bundles` are pure; `secret`, `publication`, `bootstrap`,
`follower` and `controller` do the I/O. May import api and the runtime.
"""
