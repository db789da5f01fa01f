//! The key of the lease: a revision, and an end by age.

#[derive(Default)]
pub struct LeaseServer {
    entry: Option<Entry>,
    revision: u64,
}

struct Entry {
    holder: usize,
    revision: u64,
    ends_ns: i64,
}

impl LeaseServer {
    pub fn get(&mut self, now_ns: i64) -> Option<(usize, u64)> {
        self.entry = self.entry.take().filter(|entry| now_ns < entry.ends_ns);
        self.entry.as_ref().map(|entry| (entry.holder, entry.revision))
    }

    /// The new revision; `None` if there is one already.
    pub fn create(&mut self, holder: usize, now_ns: i64, lives_ns: i64) -> Option<u64> {
        let free = self.get(now_ns).is_none();
        free.then(|| self.put(holder, now_ns, lives_ns))
    }

    /// The new revision; `None` if `revision` is not the last.
    pub fn update(
        &mut self,
        holder: usize,
        revision: u64,
        now_ns: i64,
        lives_ns: i64,
    ) -> Option<u64> {
        let current = self.get(now_ns).is_some_and(|(_, current)| current == revision);
        current.then(|| self.put(holder, now_ns, lives_ns))
    }

    pub fn delete(&mut self, revision: u64, now_ns: i64) -> bool {
        let current = self.get(now_ns).is_some_and(|(_, current)| current == revision);
        if current {
            self.remove();
        }
        current
    }

    /// By anybody.
    pub fn put(&mut self, holder: usize, now_ns: i64, lives_ns: i64) -> u64 {
        self.revision += 1;
        self.entry = Some(Entry { holder, revision: self.revision, ends_ns: now_ns + lives_ns });
        self.revision
    }

    /// By anybody.
    pub fn remove(&mut self) {
        self.revision += 1;
        self.entry = None;
    }
}
