use super::*;

fn actor() -> Actor {
    Actor {
        user: UserId::random().unwrap(),
        operator: false,
        acting: None,
    }
}

fn member(actor: &Actor, permissions: &[Permission]) -> Membership {
    Membership {
        team: TeamId::random().unwrap(),
        user: actor.user,
        owner: false,
        permissions: permissions.iter().copied().collect(),
    }
}

#[test]
fn the_table_is_sorted() {
    assert!(TABLE.is_sorted_by(|a, b| a.method < b.method));
    assert!(
        TABLE
            .iter()
            .all(|r| std::ptr::eq(rule(r.method).unwrap(), r))
    );
    assert!(rule("zhylon.daemons.v1.DaemonService/Nothing").is_none());
}

#[test]
fn permissions_keep_their_strings() {
    for permission in Permission::ALL {
        assert_eq!(permission.name().parse(), Ok(permission));
    }
    assert_eq!("server:view".parse::<Permission>(), Err(UnknownPermission));
    let set: PermissionSet = [Permission::ManageTeam, Permission::CreateDaemons]
        .into_iter()
        .collect();
    assert_eq!(set.to_string(), "server:create-daemons team:manage");
    assert_eq!("server:create-daemons team:manage".parse(), Ok(set));
    assert!(Permission::ALL.is_sorted_by(|a, b| a.name() < b.name()));
}

/// Every line of the table: exactly the permission it names opens it.
#[test]
fn each_rule_is_opened_by_its_own_permission_alone() {
    for rule in TABLE {
        let actor = actor();
        let none = member(&actor, &[]);
        let stranger = member(&self::actor(), &Permission::ALL);
        let operator = Actor {
            operator: true,
            ..actor
        };
        match rule.access {
            Access::MemberWith(needed) => {
                let others: Vec<_> = Permission::ALL
                    .into_iter()
                    .filter(|p| *p != needed)
                    .collect();
                for poor in [none, member(&actor, &others)] {
                    assert_eq!(
                        authorize(rule, &actor, Some(&poor)).unwrap_err(),
                        Refusal::Missing(needed)
                    );
                }
                let rich = member(&actor, &[needed]);
                assert_eq!(
                    authorize(rule, &actor, Some(&rich)).unwrap().team(),
                    rich.team
                );
                let owner = Membership {
                    owner: true,
                    ..none
                };
                assert!(authorize(rule, &actor, Some(&owner)).is_ok());
            }
            Access::Member | Access::OperatorOrMember => {
                assert!(authorize(rule, &actor, Some(&none)).is_ok());
            }
            _ => assert!(
                authorize(rule, &actor, Some(&none)).is_err(),
                "{}",
                rule.method
            ),
        }
        let inside = matches!(
            rule.access,
            Access::Member | Access::OperatorOrMember | Access::MemberWith(_)
        );
        if inside {
            assert_eq!(
                authorize(rule, &actor, None).unwrap_err(),
                Refusal::Invisible
            );
            assert_eq!(
                authorize(rule, &actor, Some(&stranger)).unwrap_err(),
                Refusal::Invisible
            );
            assert_eq!(
                authorize(rule, &operator, None).unwrap_err(),
                Refusal::OnBehalfOfRequired
            );
        }
        assert_eq!(
            platform(rule, &operator).is_ok(),
            rule.access == Access::Operator
        );
        assert!(platform(rule, &actor).is_err());
        assert!(own(rule, &actor, stranger.user).is_err());
        assert_eq!(
            own(rule, &operator, stranger.user).is_ok(),
            rule.access == Access::SignedIn
        );
    }
}
