//! The words that generated messages are made of.

/// Plain words.
pub(super) const WORDS: &[&str] = &[
    "apple", "pear", "quince", "ladder", "crate", "press", "barrel", "cellar", "terrace", "hedge", "gate",
    "valley", "frost", "sunrise", "evening", "market", "bridge", "wagon", "rope", "lantern", "kettle",
    "bread", "honey", "bees", "blossom", "branch", "root", "stone", "river", "mill", "flour", "cloth",
    "basket", "glove", "boots", "rain", "wind", "cloud", "thaw", "meadow", "goose", "duck", "slug", "snail",
    "owl", "fox", "hill", "path", "fence", "key", "door", "shelf", "ledger", "letter", "stamp", "post",
    "bell", "clock", "morning", "noon", "we", "they", "carry", "count", "pick", "sort", "wash", "mend",
    "open", "close", "wait", "ask", "answer", "send", "bring", "leave", "before", "after", "under", "over",
    "beside", "until", "the", "a", "and", "or", "but", "with", "without", "for", "from", "to", "of", "in",
    "on", "at", "is", "was", "will", "not",
];

/// Words outside ASCII.
pub(super) const FOREIGN: &[&str] = &[
    "æble",
    "pære",
    "kvæde",
    "Größe",
    "Straße",
    "pêche",
    "août",
    "señal",
    "mañana",
    "jabłko",
    "gruszka",
    "sníh",
    "яблоко",
    "дождь",
    "ветер",
    "μήλο",
    "βροχή",
    "תפוח",
    "تفاح",
    "सेब",
    "林檎",
    "雨",
    "사과",
    "바람",
    "🍎",
    "☂",
];

/// Senders: display name and address.
pub(super) const SENDERS: &[(&str, &str)] = &[
    ("Ida Lund", "ida@orchard.example"),
    ("Søren Åkerlund", "soren@orchard.example"),
    ("Jörg Müller", "joerg@hillside.example"),
    ("Zoe", "zoe@hillside.example"),
    ("Press House", "press@orchard.example"),
    ("Weather Desk", "desk@hillside.example"),
    ("林檎園", "garden@orchard.example"),
    ("Yard", "yard@orchard.example"),
];
