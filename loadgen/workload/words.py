"""Short common English words: what a made-up prompt consists of when it is text.

Rule: each word is plain lower-case ASCII and so common that nearly every tokenizer has it, with its leading space, as
one token; nothing depends on that being true, because whoever uses the list counts. Apart because it is data, not code.
"""

WORDS: tuple[str, ...] = tuple(
    """
    the of and to in is that it for was on are as with they at be this have from or one had by but not what all
    were we when your can said there use an each which she do how their if will up other about out many then
    them these so some her would make like him into time has look two more write go see number no way could
    people my than first water been call who its now find long down day did get come made may part over new take
    only little work know place year live me back give most very after thing our just name good man think say
    great where help through much before line right too mean old any same tell boy want show also around form
    three small set put end does another well large must big even such because turn here why ask went men read
    need land home us move try kind hand again change off play air away house point page letter answer found
    study still learn should world high every near add food between own below country last school father keep
    tree never start city earth eye light thought head under story saw left few while along might close seem
    next hard open example begin life always those both paper together got group often run
    """.split()  # noqa: SIM905  # 230 quoted words would be hard to read
)
