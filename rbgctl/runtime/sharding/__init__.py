"""Several managers that share the work: each leads some shards, and a key belongs to one.

assignment   which shard a key is in, which member does which shard       pure
leases       what the Leases of all say, and what follows for this one    pure
membership   the own member Lease, and the look at all
elector      takes, keeps and gives away shards
led_shards   the shards that this process leads, and who works in them
key_filter   lets a controller work on the keys of these only
assembly     puts it together for a manager
"""
