"""The rule sets that are shipped: data, installed as ``edgecache.rulesets``, read by ``edgecache.edges.rulesets``."""
