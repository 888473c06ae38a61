"""What must be drawn, worked out again in Python from the data of the page."""


class Expected:
    """A graph as the page holds it."""

    def __init__(self, plain):
        self.plain, self.nodes = plain, []
        for column, site in enumerate(plain["sites"]):
            indices = plain["nodes"]["index"][len(self.nodes) : len(self.nodes) + site["held"]]
            self.nodes += [(column, f"{site['name']}:{i}") for i in indices]
        self.ids = [key for _, key in self.nodes]
        self.importance = dict(zip(self.ids, plain["nodes"]["importance"], strict=True))
        self.edges, at = [], 0
        for number, section in enumerate(plain["sections"]):
            for rank in range(section["held"]):
                ends = (self.ids[plain["edges"]["source"][at]], self.ids[plain["edges"]["target"][at]])
                self.edges.append((number, rank, *ends, plain["edges"]["strength"][at], plain["edges"]["signed"][at]))
                at += 1

    def relative(self, key):
        column = dict((k, c) for c, k in self.nodes)[key]
        return self.importance[key] / max(self.importance[k] for c, k in self.nodes if c == column)

    def drawn(self, *, strength=None, most=None, importance=0.0, inside=None):
        """Edges drawn; ``strength`` None takes the stable counts."""
        into, found = {}, []
        for number, rank, a, b, value, _ in self.edges:
            section = self.plain["sections"][number]
            place = into[b] = into.get(b, 0) + 1
            keep = (
                rank < section["needed"]["stable"]["held"] if strength is None else value / section["top"] >= strength
            )
            keep = keep and (most is None or place <= most)
            keep = keep and all(self.relative(key) >= importance for key in (a, b))
            if keep and (inside is None or {a, b} <= inside):
                found.append((a, b))
        return found

    def linked(self, edges):
        return {key for edge in edges for key in edge}

    def near(self, key, hops, edges):
        found = {key}
        for _ in range(hops):
            found |= {b for a, b in edges if a in found} | {a for a, b in edges if b in found}
        return found

    def between(self, a, b, edges):
        after, before = {a}, {b}
        for _ in self.plain["sites"]:
            after |= {y for x, y in edges if x in after}
            before |= {x for x, y in edges if y in before}
        return (after & before) | {a, b}
