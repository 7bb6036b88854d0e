//! How many bytes of bulk may pass in a second.
//! Never holds back what somebody waits for: fresh mail, acknowledgements, a body that a reader asked for.

use quar_base::time::UnixMillis;

/// A rate, and what of it is left at the moment.
pub(crate) struct Budget {
    /// Bytes a second; `None` for as many as there are.
    rate: Option<u64>,
    left: i64,
    at: UnixMillis,
}

impl Budget {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate, left: 0, at: UnixMillis(0) }
    }

    /// Time passes: what was not used within a second is gone.
    pub(crate) fn tick(&mut self, now: UnixMillis) {
        let Some(rate) = self.rate else { return };
        let elapsed_ms = (now - self.at).0.min(1000);
        self.at = now;
        let rate = i64::try_from(rate).unwrap_or(i64::MAX / 2000);
        let more = rate.saturating_mul(elapsed_ms as i64) / 1000;
        self.left = self.left.saturating_add(more).min(rate);
    }

    /// So many bytes passed; what is too much is owed.
    pub(crate) fn spend(&mut self, bytes: usize) {
        if self.rate.is_some() {
            self.left = self.left.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.rate.is_some() && self.left <= 0
    }

    /// Whether nothing is left beside what is on its way.
    pub(crate) fn is_spent_with(&self, coming: u64) -> bool {
        self.rate.is_some() && self.left <= i64::try_from(coming).unwrap_or(i64::MAX)
    }

    /// Bytes that may pass now.
    pub(crate) fn room(&self) -> usize {
        match self.rate {
            None => usize::MAX,
            Some(_) => usize::try_from(self.left).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use quar_base::time::UnixMillis;

    #[test]
    fn as_much_passes_in_the_long_run_as_the_rate_says() {
        let mut budget = Budget::new(Some(1000));
        let mut passed = 0;
        for step in 0..600 {
            budget.tick(UnixMillis(1_000_000 + step * 100));
            while !budget.is_spent() {
                budget.spend(700);
                passed += 700;
            }
        }
        assert!((60_000..63_000).contains(&passed), "{passed} bytes in a minute");
        assert!(!Budget::new(None).is_spent());
    }
}
