//! What a spool that wraps another, in a test, leaves as it is.

/// Makes the methods of a [`Spool`](crate::Spool) that are named: they are left to the spool in a
/// field. All others are the wrapper's own.
#[macro_export]
macro_rules! leave_to {
    ($field:ident: $($method:ident)*) => { $($crate::leave_to! { @ $field $method })* };
    (@ $field:ident admission) => {
        fn admission(&self) -> ::tokio::sync::watch::Receiver<$crate::Admission> {
            self.$field.admission()
        }
    };
    (@ $field:ident begin) => {
        async fn begin(
            &self,
            envelope: &$crate::Envelope,
            size: Option<u64>,
        ) -> Result<Self::Draft, $crate::Refuse> {
            self.$field.begin(envelope, size).await
        }
    };
    (@ $field:ident release) => {
        async fn release(
            &self,
            domains: &[$crate::Domain],
            why: $crate::Wake,
        ) -> Result<Vec<$crate::Pending>, $crate::Error> {
            self.$field.release(domains, why).await
        }
    };
    (@ $field:ident work) => {
        async fn work(&self) {
            self.$field.work().await;
        }
    };
    (@ $field:ident due) => {
        async fn due(
            &self,
            after: Option<&$crate::Due>,
            max: usize,
        ) -> Result<Vec<$crate::Due>, $crate::Error> {
            self.$field.due(after, max).await
        }
    };
    (@ $field:ident turn) => {
        async fn turn(
            &self,
            domain: &$crate::Domain,
            limit: u32,
            lease: ::std::time::Duration,
        ) -> Result<Option<$crate::Turn>, $crate::Error> {
            self.$field.turn(domain, limit, lease).await
        }
    };
    (@ $field:ident settle) => {
        async fn settle(
            &self,
            turn: &$crate::Turn,
            done: Vec<$crate::Settled>,
        ) -> Result<Vec<$crate::Recorded>, $crate::Error> {
            self.$field.settle(turn, done).await
        }
    };
    (@ $field:ident end) => {
        async fn end(
            &self,
            turn: $crate::Turn,
            next: $crate::Next,
        ) -> Result<$crate::Ended, $crate::Error> {
            self.$field.end(turn, next).await
        }
    };
    (@ $field:ident list) => {
        async fn list(
            &self,
            filter: &$crate::Filter,
            after: Option<&$crate::Cursor>,
            max: usize,
        ) -> Result<$crate::Listing, $crate::Error> {
            self.$field.list(filter, after, max).await
        }
    };
    (@ $field:ident message) => {
        async fn message(&self, id: $crate::MsgId) -> Result<Vec<$crate::Held>, $crate::Error> {
            self.$field.message(id).await
        }
    };
    (@ $field:ident act) => {
        async fn act(
            &self,
            filter: &$crate::Filter,
            action: $crate::Action,
            max: usize,
        ) -> Result<Vec<($crate::Domain, $crate::MsgId)>, $crate::Error> {
            self.$field.act(filter, action, max).await
        }
    };
    (@ $field:ident hold) => {
        async fn hold(&self, domain: &$crate::Domain, held: bool) -> Result<(), $crate::Error> {
            self.$field.hold(domain, held).await
        }
    };
    (@ $field:ident expire) => {
        async fn expire(
            &self,
            domain: &$crate::Domain,
            older: ::std::time::Duration,
            max: usize,
        ) -> Result<$crate::Expired, $crate::Error> {
            self.$field.expire(domain, older, max).await
        }
    };
    (@ $field:ident totals) => {
        async fn totals(&self) -> Result<$crate::Totals, $crate::Error> {
            self.$field.totals().await
        }
    };
    (@ $field:ident queue) => {
        async fn queue(
            &self,
            domain: &$crate::Domain,
        ) -> Result<Option<$crate::QueueStats>, $crate::Error> {
            self.$field.queue(domain).await
        }
    };
    (@ $field:ident queues) => {
        async fn queues(
            &self,
            after: Option<&$crate::Domain>,
            max: usize,
        ) -> Result<Vec<$crate::QueueStats>, $crate::Error> {
            self.$field.queues(after, max).await
        }
    };
    (@ $field:ident damage) => {
        async fn damage(&self) -> Result<$crate::Damage, $crate::Error> {
            self.$field.damage().await
        }
    };
    (@ $field:ident secret) => {
        fn secret(&self) -> &[u8; 32] {
            self.$field.secret()
        }
    };
    (@ $field:ident close) => {
        async fn close(&self) {
            self.$field.close().await;
        }
    };
}
